// SPDX-License-Identifier: Apache-2.0
// Memory into which a shard is copied before it is written: slots of one size, allocated, touched and, where the system
// lets us, locked once, at the start. Copying into memory that was never touched is several times slower.
//
// A shard is laid out over slots as one stream: its slices one after another, each from a multiple of 8 bytes on, cut
// where a slot ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "checkpoint/config.h"
#include "checkpoint/tensor.h"

namespace kiban::checkpoint {

struct PoolSize {
    std::uint64_t slot_bytes = 0;
    std::uint64_t slots = 0;
    std::uint64_t bytes() const { return slot_bytes * slots; }
};

/// Bytes of the stream of these slices.
std::uint64_t stream_bytes(std::span<const TensorSlice> slices);

inline constexpr std::uint64_t kLargestAutomaticPool = std::uint64_t{4} << 30;

/// Slots for a shard of so many stream bytes: pool_mib, or with 0 as many as hold the shard, up to `most` bytes.
/// ConfigError when copy is "snapshot" and the shard does not fit.
PoolSize pool_size(const CheckpointConfig& config, std::uint64_t stream_bytes,
                   std::uint64_t most = kLargestAutomaticPool);

class StagingPool {
  public:
    StagingPool() = default;
    /// ConfigError when the system does not give the memory.
    explicit StagingPool(const PoolSize& size);
    ~StagingPool();
    StagingPool(StagingPool&& other) noexcept;
    StagingPool& operator=(StagingPool&& other) noexcept;

    const PoolSize& size() const { return size_; }
    std::byte* slot(std::uint64_t number) const { return memory_ + number * size_.slot_bytes; }
    bool locked() const { return locked_; }

  private:
    PoolSize size_;
    std::byte* memory_ = nullptr;
    bool locked_ = false;
};

/// A part of a slice that lies in one slot.
struct Segment {
    std::size_t slice = 0;
    std::uint64_t first = 0;  // byte of the slice's box
    std::uint64_t bytes = 0;
    std::uint64_t in_slot = 0;
};
/// What each slot of the stream holds, in order; slices without elements are nowhere.
std::vector<std::vector<Segment>> segments_of(std::span<const TensorSlice> slices, std::uint64_t slot_bytes);

}  // namespace kiban::checkpoint
