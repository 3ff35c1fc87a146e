// SPDX-License-Identifier: Apache-2.0
// Files for the tests of data/: a directory of its own for each test, and content made from a seed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/config.h"
#include "data/manifest.h"
#include "tests/support/message_of.h"

namespace kiban::data {

class TempDirectory {
  public:
    TempDirectory();
    TempDirectory(const TempDirectory&) = delete;
    TempDirectory& operator=(const TempDirectory&) = delete;
    ~TempDirectory();

    const std::filesystem::path& path() const { return path_; }
    std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
    /// Writes a file below it, making its directories.
    void write(const std::string& name, const std::string& content) const;

  private:
    std::filesystem::path path_;
};

std::string read_file(const std::filesystem::path& file);
void flip_byte(const std::filesystem::path& file, std::uint64_t offset);

std::string gzip(const std::string& text);
std::string zstd(const std::string& text);
/// `bytes` of words from a small alphabet, with line ends.
std::string words(std::size_t bytes, std::uint64_t seed);

/// A configuration of one source, with the holdout off.
DataConfig config_of(const std::string& path);
/// Every regular file below a directory: name -> content.
std::vector<std::pair<std::string, std::string>> contents(const std::filesystem::path& directory);
/// The ids of a stream, read through its shards.
std::vector<std::int64_t> tokens_of(const Manifest& manifest, const Stream& stream);
/// The byte tokenizer's ids of documents in order, by its definition.
std::vector<std::int64_t> ids_of(const std::vector<std::string>& documents);

}  // namespace kiban::data
