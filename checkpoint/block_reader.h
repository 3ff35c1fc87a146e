// SPDX-License-Identifier: Apache-2.0
// Verified reading of shard files: no byte is handed out before the CRC-32C of its whole block was right. Internal to
// this room.
//
// Blocks that are wanted whole are read straight into the caller's buffer; parts come from a few cached blocks. Where
// more than one block is wanted, or reading goes on from one block to the next, the following blocks are read while
// this one is checked. One thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/block_loader.h"
#include "checkpoint/manifest.h"
#include "monitoring/file.h"

namespace kiban::checkpoint {

class BlockReader {
  public:
    /// `manifest` must outlive the reader.
    BlockReader(std::filesystem::path directory, const Manifest& manifest);
    ~BlockReader();
    BlockReader(const BlockReader&) = delete;
    BlockReader& operator=(const BlockReader&) = delete;

    /// Fills `to` from file number `file`. CheckpointError naming file, block and tensors when a block is damaged;
    /// IoError when it cannot be read.
    void read(std::size_t file, std::uint64_t offset, std::span<std::byte> to);

    /// Reads and checks every block that read() has not touched; returns one fault for each damaged one.
    std::vector<std::string> check_rest(std::size_t file, bool& unreadable);

  private:
    struct CachedBlock {
        std::size_t file = 0;
        std::uint64_t block = 0;
        std::uint64_t last_use = 0;            // 0: holds nothing
        bool used_up = false;                  // its last byte was handed out last
        std::unique_ptr<std::byte[]> storage;  // not filled with zeros first
        std::size_t capacity = 0;
        std::span<std::byte> bytes;
        std::future<std::uint32_t> coming;  // the CRC, while the block is being read
    };
    struct Coming {
        std::uint64_t block = 0;
        std::uint64_t in_block = 0;
        std::span<std::byte> to;
        std::future<std::uint32_t> crc;  // not valid: the block comes through the cache
    };

    std::uint64_t block_size(std::size_t file, std::uint64_t block) const;
    void load_block(std::size_t file, std::uint64_t block, std::span<std::byte> to);
    void check(std::size_t file, std::uint64_t block, std::span<const std::byte> bytes, std::uint32_t crc);
    void read_in_block(std::size_t file, std::uint64_t block, std::uint64_t in_block, std::span<std::byte> to);
    void read_blocks(std::size_t file, std::uint64_t offset, std::span<std::byte> to);
    void settle(std::size_t file, std::deque<Coming>& coming);
    CachedBlock* find_cached(std::size_t file, std::uint64_t block);
    CachedBlock& free_place(std::size_t file, std::uint64_t block);
    CachedBlock& cached_block(std::size_t file, std::uint64_t block);
    void copy_cached(std::size_t file, std::uint64_t block, std::uint64_t in_block, std::span<std::byte> to);
    void prefetch(std::size_t file, std::uint64_t block);
    void begin_cached(std::size_t file, std::uint64_t block);
    std::shared_ptr<const monitoring::File> open_file(std::size_t file);
    BlockLoader& loader();
    std::string tensors_in(std::size_t file, std::uint64_t begin, std::uint64_t end) const;

    std::filesystem::path directory_;
    const Manifest& manifest_;
    std::map<std::size_t, std::shared_ptr<const monitoring::File>> open_;
    std::array<CachedBlock, 8> cache_;
    std::uint64_t uses_ = 0;
    std::pair<std::size_t, std::uint64_t> last_{SIZE_MAX, 0};  // file and block that were used last
    std::vector<std::vector<bool>> touched_;                   // per file and block: read, whatever came out
    std::unique_ptr<BlockLoader> loader_;                      // made when there is something to do beside reading
};

}  // namespace kiban::checkpoint
