// SPDX-License-Identifier: Apache-2.0
// The part of a shard that HDF5 writes: one contiguous dataset per box, space reserved, payload not yet there. Internal
// to this room.
//
// Payload stays out of HDF5's write path: the library neither syncs nor checks payload, and a full disk inside it is
// hard to survive.
#pragma once

#include "checkpoint/tensor.h"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace kiban::checkpoint {

inline constexpr const char* kShardFormat = "kiban-shard";
inline constexpr std::uint64_t kShardVersion = 1;

/// Makes the file and returns where the payload of each slice goes (0 for an empty one). IoError when HDF5 or the disk
/// refuses.
std::vector<std::uint64_t> create_shard_file(const std::filesystem::path& name, int index,
                                             std::span<const TensorSlice> slices);

}  // namespace kiban::checkpoint
