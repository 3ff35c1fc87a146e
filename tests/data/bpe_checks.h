// SPDX-License-Identifier: Apache-2.0
// Checks of tokenizers that the suite makes in small and tests/data/soak.cpp in large.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/bpe/splitter.h"

namespace kiban::data {

/// The patterns that have a scanner.
std::vector<const char*> all_patterns();

std::vector<std::string> pieces_of(Splitter& splitter, const std::string& text);

/// A failure of the test where scanner and regular expressions cut a text differently.
void compare_paths_on_random_text(const std::string& pattern, std::size_t texts, std::uint64_t seed);
/// At most `most_bytes` of each regular file below a directory; how many bytes that were.
std::uint64_t compare_paths_on_files(const std::string& pattern, const std::filesystem::path& directory,
                                     std::uint64_t most_bytes);

/// Reads `files` damaged tokenizer.json: each must be refused with a DataError or ConfigError, or encode and decode
/// text to itself.
void read_damaged_tokenizers(std::size_t files, std::uint64_t seed);

}  // namespace kiban::data
