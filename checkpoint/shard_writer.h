// SPDX-License-Identifier: Apache-2.0
// One shard on its way to the disk: header by HDF5, space reserved, then payload in any number of parts, CRC-32C of
// every block and fingerprint of every box beside the writing. Internal to this room. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <set>
#include <span>

#include "checkpoint/shard.h"
#include "checkpoint/shard_header.h"
#include "monitoring/file.h"

namespace kiban::checkpoint {

class ShardWriter {
  public:
    /// Makes `directory`/shard_file_name(index) and reserves its space: a full disk is met here. The data of the slices
    /// is not looked at. `direct`: past the page cache where the file system offers it, so that neither the copy into
    /// it nor its memory is taken from training. CheckpointError when the file exists or a slice cannot be stored,
    /// IoError. Fault point ckpt.header.
    ShardWriter(const std::filesystem::path& directory, int index, std::span<const TensorSlice> slices,
                bool direct = true);
    /// Removes the file unless finish() returned: one that failed is never used again, and its space is wanted.
    ~ShardWriter();
    ShardWriter(const ShardWriter&) = delete;
    ShardWriter& operator=(const ShardWriter&) = delete;

    /// A part of the box of slice number `slice`, from byte `first` of the box on: whole elements. Parts may come in
    /// any order; in the order of the slices nothing is read back for its CRC. Fault point ckpt.payload, each 4 MiB.
    void write(std::size_t slice, std::uint64_t first, std::span<const std::byte> bytes);
    /// After all payload: syncs and closes. Fault point ckpt.fsync.
    ShardReport finish();

  private:
    ShardWriter(std::filesystem::path name, std::span<const TensorSlice> slices, ShardHeader header, bool direct);

    struct Block {  // bytes that the disk may take from memory
        Block();
        std::unique_ptr<std::byte, decltype(&std::free)> memory;
    };

    void write_chunk(StoredBox& stored, std::uint64_t first, std::span<const std::byte> chunk);
    void place(std::uint64_t offset, std::span<const std::byte> bytes);
    void place_late(std::uint64_t offset, std::span<const std::byte> bytes);
    std::uint64_t bytes_in(std::uint64_t block) const;
    std::uint64_t blocks() const;
    void begin_block();
    void end_block();
    void write_block();
    void start_write_back();
    void take_late_crcs();

    std::filesystem::path name_;
    bool direct_;
    data::H5Bytes header_;
    monitoring::File file_;
    ShardReport report_;
    Block memory_;                  // the block that parts are placed in until it is written as a whole
    std::uint64_t block_ = 0;       // its number; those before are written
    std::set<std::uint64_t> late_;  // blocks that parts came for after they were written
    std::uint64_t started_ = 0;     // the disk was told to begin with what lies before
    std::uint64_t expected_ = 0;    // bytes of payload
    std::uint64_t written_ = 0;
    bool finished_ = false;
};

}  // namespace kiban::checkpoint
