// SPDX-License-Identifier: Apache-2.0
// One shard on its way to the disk: header by HDF5, space reserved, then payload in any number of parts, CRC-32C of
// every block and fingerprint of every box beside the writing. Internal to this room. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "checkpoint/shard.h"
#include "monitoring/file.h"

namespace kiban::checkpoint {

/// CRCs of the blocks of a file whose bytes pass by in order.
class BlockCrcs {
  public:
    void add(std::span<const std::byte> bytes);
    std::vector<std::uint32_t> finish();

  private:
    void finish_block();

    std::vector<std::uint32_t> crcs_;
    std::uint32_t crc_ = 0;
    std::uint64_t filled_ = 0;
};

class ShardWriter {
  public:
    /// Makes `directory`/shard_file_name(index) and reserves its space: a full disk is met here. The data of the slices
    /// is not looked at. CheckpointError when the file exists or a slice cannot be stored, IoError. Fault point
    /// ckpt.header.
    ShardWriter(const std::filesystem::path& directory, int index, std::span<const TensorSlice> slices);
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
    ShardWriter(std::filesystem::path name, std::span<const TensorSlice> slices, int index,
                std::vector<std::uint64_t> offsets);

    void write_chunk(StoredBox& stored, std::uint64_t first, std::span<const std::byte> chunk);
    void take_crc(std::uint64_t offset, std::span<const std::byte> chunk);
    void read_crcs_until(std::uint64_t end);
    void start_write_back();

    std::filesystem::path name_;
    monitoring::File file_;
    ShardReport report_;
    BlockCrcs crcs_;
    std::vector<std::byte> buffer_;
    bool in_order_ = true;        // so far
    std::uint64_t at_ = 0;        // CRCs are taken up to here
    std::uint64_t started_ = 0;   // the disk was told to begin with what lies before
    std::uint64_t expected_ = 0;  // bytes of payload
    std::uint64_t written_ = 0;
    bool finished_ = false;
};

}  // namespace kiban::checkpoint
