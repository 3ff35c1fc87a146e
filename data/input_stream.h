// SPDX-License-Identifier: Apache-2.0
// The bytes of an input file, read forward: as they are, or through gzip (RFC 1952, several members) or zstd (RFC 8878,
// several frames). Truncated or damaged compressed input throws DataError with the file and the offset in it. Not
// thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace kiban::data {

enum class Codec { none, gzip, zstd };

Codec codec_of(const std::filesystem::path& file);  // by name: .gz, .tgz, .zst

class InputStream {
  public:
    virtual ~InputStream() = default;
    /// Fills as much of `bytes` as there is; fewer only at the end of the input.
    virtual std::size_t read(std::span<std::byte> bytes) = 0;
};

/// Reads `file` from byte `begin` (0 for a compressed one). DataError when it has not `expected_bytes`, now or when its
/// end is reached: it changed since it was listed.
std::unique_ptr<InputStream> open_input(const std::filesystem::path& file, Codec codec, std::uint64_t begin,
                                        std::uint64_t expected_bytes);

/// What `input`, called `name` in errors, holds when it is decompressed. `input` must outlive it.
std::unique_ptr<InputStream> decompress(InputStream& input, Codec codec, const std::string& name);

}  // namespace kiban::data
