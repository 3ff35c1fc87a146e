// SPDX-License-Identifier: Apache-2.0
// The regular files of a tar archive, read forward: POSIX.1-2001 ustar and pax headers, and GNU's long names and sizes.
//
// Directories, links and devices are passed over. DataError with the archive and the byte for a header that is damaged,
// a sparse file, an archive without its end mark (it was cut off), and anything but zeros behind that. Not thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "data/input_stream.h"

namespace kiban::data {

/// .tar (below .gz or .zst too) and .tgz.
bool is_tar(const std::filesystem::path& name);

struct TarMember {
    std::string name;          // as in the archive
    std::uint64_t offset = 0;  // of its first byte in the archive
    std::uint64_t bytes = 0;
};

class TarReader : public InputStream {
  public:
    /// `archive`, called `name` in errors, must outlive it.
    TarReader(InputStream& archive, std::string name) : archive_(archive), name_(std::move(name)) {}

    /// The next regular file, whose bytes read() gives then; what was not read of the one before is passed over.
    std::optional<TarMember> next();
    std::size_t read(std::span<std::byte> bytes) override;

  private:
    struct Extension {  // what the headers before a member say of it
        std::optional<std::string> name;
        std::optional<std::uint64_t> bytes;
    };

    bool read_header(std::span<std::byte> block);
    void read_exactly(std::span<std::byte> bytes);
    std::string read_extension(std::uint64_t bytes);
    void parse_pax(const std::string& records, Extension& extension) const;
    void pass(std::uint64_t bytes);
    void check_end();
    [[noreturn]] void refuse(const std::string& reason) const;

    InputStream& archive_;
    std::string name_;
    std::uint64_t offset_ = 0;   // read so far
    std::uint64_t left_ = 0;     // of the member
    std::uint64_t padding_ = 0;  // behind it
};

}  // namespace kiban::data
