// SPDX-License-Identifier: Apache-2.0
// The part of a shard that HDF5 writes: one contiguous dataset per box, space reserved, payload not yet there. Internal
// to this room.
//
// HDF5 makes it in memory, so nothing of the library's write path touches the run's disk: it neither syncs nor checks,
// and a full disk inside it is hard to survive.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/tensor.h"
#include "data/h5_image.h"

namespace kiban::checkpoint {

inline constexpr const char* kShardFormat = "kiban-shard";
inline constexpr std::uint64_t kShardVersion = 1;

struct ShardHeader {
    data::H5Bytes bytes;                 // of the whole file; the payload is yet to come
    std::vector<std::uint64_t> offsets;  // where the payload of each slice goes (0 for an empty one)
};
/// `name` stands in messages only. IoError when HDF5 refuses.
ShardHeader make_shard_header(const std::filesystem::path& name, int index, std::span<const TensorSlice> slices);

}  // namespace kiban::checkpoint
