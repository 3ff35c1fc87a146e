// SPDX-License-Identifier: Apache-2.0
// One writer's HDF5 file: header by HDF5 (v1.10 format, contiguous, 4 KiB aligned), payload by positioned writes,
// CRC-32C per 4 MiB block of the whole file (format: checkpoint/FORMAT.md). All-or-nothing: never updated in place.
#pragma once

#include "checkpoint/tensor.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace kiban::checkpoint {

inline constexpr std::uint64_t kCrcBlockBytes = 4u << 20;

struct StoredBox {
    TensorInfo tensor;
    Box box;
    std::uint64_t file_offset = 0;
    std::uint64_t fingerprint = 0;  // of this box's elements
};

/// What a writer tells the coordinator after its file is durable; becomes part of the manifest.
struct ShardReport {
    std::string file;  // name inside the checkpoint directory
    std::uint64_t bytes = 0;
    std::vector<std::uint32_t> block_crcs;
    std::vector<StoredBox> boxes;
};
nlohmann::json to_json(const ShardReport& report);
ShardReport shard_report_from_json(const nlohmann::json& json);  // CheckpointError when malformed

/// Name of writer `index`'s file: shard-00000.h5.
std::string shard_file_name(int index);

/// Writes, syncs and closes `directory`/shard_file_name(index). IoError for a full disk before any payload is written.
/// Fault points ckpt.header, ckpt.payload, ckpt.fsync.
ShardReport write_shard(const std::filesystem::path& directory, int index, std::span<const TensorSlice> slices);

}  // namespace kiban::checkpoint
