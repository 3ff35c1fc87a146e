// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/staging_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "checkpoint/manifest.h"
#include "monitoring/error.h"

namespace kiban::checkpoint {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kLargestSlot = 64 * kMiB;
constexpr std::uint64_t kSmallestSlot = 64 << 10;
constexpr std::uint64_t kFewestSlots = 8;  // of a pool that does not hold the shard: copying and writing go on at once
constexpr std::uint64_t kAlignment = 8;    // of the largest element

std::uint64_t rounded_up(std::uint64_t value, std::uint64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

std::uint64_t stream_bytes(std::span<const TensorSlice> slices) {
    std::uint64_t sum = 0;
    for (const TensorSlice& slice : slices) sum = rounded_up(sum, kAlignment) + bytes_of(slice.tensor, slice.box);
    return sum;
}

PoolSize pool_size(const CheckpointConfig& config, std::uint64_t stream_bytes, std::uint64_t most) {
    if (config.pool_mib != 0) most = config.pool_mib * kMiB;
    most = std::max(most, kMiB);
    if (stream_bytes <= most) {
        const std::uint64_t slot = std::clamp(rounded_up(stream_bytes, kPage), kPage, kLargestSlot);
        return {slot, std::max<std::uint64_t>(1, (stream_bytes + slot - 1) / slot)};
    }
    if (config.copy == "snapshot") {
        throw ConfigError(
            "checkpoint.pool_mib: a snapshot of this worker's {} MiB was asked for, expected a pool of at least that, "
            "found {} MiB; raise it, or set checkpoint.copy to \"lazy\" or \"auto\"",
            (stream_bytes + kMiB - 1) / kMiB, most / kMiB);
    }
    const std::uint64_t slot = std::clamp(most / kFewestSlots / kPage * kPage, kSmallestSlot, kLargestSlot);
    return {slot, most / slot};
}

StagingPool::StagingPool(const PoolSize& size) : size_(size) {
    const auto bytes = static_cast<std::size_t>(size.bytes());
    if (bytes == 0) return;
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        throw ConfigError("cannot have {} MiB of memory for copies of a checkpoint: {}; lower checkpoint.pool_mib",
                          (size.bytes() + kMiB - 1) / kMiB, std::strerror(errno));
    }
    memory_ = static_cast<std::byte*>(memory);
    ::madvise(memory_, bytes, MADV_HUGEPAGE);  // a hint
    locked_ = ::mlock(memory_, bytes) == 0;    // refused without the right to: the pages are there all the same
    for (std::size_t at = 0; at < bytes; at += kPage) memory_[at] = std::byte{1};
}

StagingPool::~StagingPool() {
    if (memory_ != nullptr) ::munmap(memory_, static_cast<std::size_t>(size_.bytes()));
}

StagingPool::StagingPool(StagingPool&& other) noexcept
    : size_(std::exchange(other.size_, {})),
      memory_(std::exchange(other.memory_, nullptr)),
      locked_(std::exchange(other.locked_, false)) {}

StagingPool& StagingPool::operator=(StagingPool&& other) noexcept {
    std::swap(size_, other.size_);
    std::swap(memory_, other.memory_);
    std::swap(locked_, other.locked_);
    return *this;
}

std::vector<std::vector<Segment>> segments_of(std::span<const TensorSlice> slices, std::uint64_t slot_bytes) {
    KIBAN_CHECK(slot_bytes > 0 && slot_bytes % kAlignment == 0, "slots of {} bytes", slot_bytes);
    std::vector<std::vector<Segment>> slots;
    std::uint64_t at = 0;  // of the stream
    for (std::size_t i = 0; i < slices.size(); ++i) {
        const std::uint64_t bytes = bytes_of(slices[i].tensor, slices[i].box);
        at = rounded_up(at, kAlignment);
        for (std::uint64_t done = 0; done < bytes;) {
            const std::uint64_t number = at / slot_bytes;
            const std::uint64_t in_slot = at % slot_bytes;
            const std::uint64_t part = std::min(bytes - done, slot_bytes - in_slot);
            slots.resize(std::max<std::size_t>(slots.size(), number + 1));
            slots[number].push_back({i, done, part, in_slot});
            done += part;
            at += part;
        }
    }
    return slots;
}

}  // namespace kiban::checkpoint
