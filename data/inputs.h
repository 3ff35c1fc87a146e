// SPDX-License-Identifier: Apache-2.0
// Which files a source names: itself, what a glob matches, or what lies below a directory, sorted by the bytes of their
// names.
//
// Directories are searched recursively for regular files; names that start with '.' are left out (as a shell's '*'
// does), links are followed, and a file or directory reached twice is taken once. Reads the file system only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/config.h"
#include "data/input_stream.h"

namespace kiban::data {

enum class Format { text, jsonl, by_name };  // by_name: each member of an archive by its own name

struct InputFile {
    std::string name;            // as the run file would write it: the source's path, then the path below it
    std::filesystem::path path;  // absolute
    std::uint64_t bytes = 0;     // on disk
    std::int64_t modified_ns = 0;
    Format format = Format::text;
    Codec codec = Codec::none;
    bool tar = false;  // its members are read as files are
};

/// .jsonl is JSONL (below .gz or .zst too), all else text.
Format format_of(const std::filesystem::path& name);

/// Never empty. DataError naming the path when nothing matches, a file cannot be read, all files are empty, or they
/// are more than the source's max_bytes; ConfigError for '**'.
std::vector<InputFile> list_inputs(const SourceConfig& source, const std::filesystem::path& base);

}  // namespace kiban::data
