// SPDX-License-Identifier: Apache-2.0
// Verified reading of shard files: no byte is handed out before the CRC-32C of its whole block was right. Internal to
// this room.
//
// Blocks that are wanted whole are read straight into the caller's buffer; parts come from a few cached blocks. One
// thread at a time.
#pragma once

#include "checkpoint/manifest.h"
#include "monitoring/file.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace kiban::checkpoint {

class BlockReader {
  public:
    /// `manifest` must outlive the reader.
    BlockReader(std::filesystem::path directory, const Manifest& manifest);

    /// Fills `to` from file number `file`. CheckpointError naming file, block and tensors when a block is damaged;
    /// IoError when it cannot be read.
    void read(std::size_t file, std::uint64_t offset, std::span<std::byte> to);

    /// Reads and checks every block that read() has not touched; returns one fault for each damaged one.
    std::vector<std::string> check_rest(std::size_t file);

  private:
    struct CachedBlock {
        std::size_t file = 0;
        std::uint64_t block = 0;
        std::uint64_t last_use = 0;  // 0: holds nothing
        std::vector<std::byte> bytes;
    };

    std::uint64_t block_size(std::size_t file, std::uint64_t block) const;
    void load_block(std::size_t file, std::uint64_t block, std::span<std::byte> to);
    std::span<const std::byte> cached_block(std::size_t file, std::uint64_t block);
    const monitoring::File& open_file(std::size_t file);
    std::string tensors_in(std::size_t file, std::uint64_t begin, std::uint64_t end) const;

    std::filesystem::path directory_;
    const Manifest& manifest_;
    std::map<std::size_t, monitoring::File> open_;
    std::array<CachedBlock, 8> cache_;
    std::uint64_t uses_ = 0;
    std::vector<std::vector<bool>> touched_;  // per file and block: read, whatever came out
};

}  // namespace kiban::checkpoint
