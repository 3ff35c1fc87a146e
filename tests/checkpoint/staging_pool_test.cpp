// SPDX-License-Identifier: Apache-2.0
// How a shard lies over the slots of a pool, and how it gets into its file in parts.
#include "checkpoint/staging_pool.h"

#include <gtest/gtest.h>

#include "checkpoint/manifest.h"
#include "checkpoint/shard_writer.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/checkpoint/held_state.h"

namespace kiban::checkpoint {
namespace {

using testing::expect_same;
using testing::HeldState;
using testing::large_model;
using testing::Scratch;
using testing::small_model;
using testing::written_at_once;

constexpr std::uint64_t kMiB = 1 << 20;

TEST(ShardWriter, PartsInAnyOrderMakeTheSameFile) {
    const Scratch in_order;
    const Scratch backwards;
    const HeldState state(large_model());
    const ShardReport expected = written_at_once(state, in_order);
    ShardWriter writer(backwards.path(), 0, state.slices());
    for (std::size_t i = state.slices().size(); i > 0; --i) {
        const TensorSlice& slice = state.slices()[i - 1];
        const auto* data = static_cast<const std::byte*>(slice.data);
        const auto half =
            static_cast<std::size_t>(num_elements(slice.box.extent)) / 2 * element_bytes(slice.tensor.dtype);
        writer.write(i - 1, half, {data + half, half});
        writer.write(i - 1, 0, {data, half});
    }
    expect_same(writer.finish(), expected);
}

TEST(ShardWriter, ThroughThePageCacheOrPastItTheFileIsTheSame) {
    const Scratch cached;
    const Scratch direct;
    const HeldState state(large_model());
    const auto write = [&state](const Scratch& place, bool past) {
        ShardWriter writer(place.path(), 0, state.slices(), past);
        for (std::size_t i = 0; i < state.slices().size(); ++i) {
            const TensorSlice& slice = state.slices()[i];
            const auto bytes = static_cast<std::size_t>(bytes_of(slice.tensor, slice.box));
            writer.write(i, 0, {static_cast<const std::byte*>(slice.data), bytes});
        }
        return writer.finish();
    };
    const ShardReport expected = write(cached, false);
    expect_same(write(direct, true), expected);
    EXPECT_EQ(monitoring::read_text(direct.path() / expected.file),
              monitoring::read_text(cached.path() / expected.file));
}

TEST(ShardWriter, AFileThatIsNotFinishedIsRemoved) {
    const Scratch scratch;
    const HeldState state(large_model());
    {
        ShardWriter writer(scratch.path(), 0, state.slices());
        EXPECT_EQ(testing::entries_in(scratch.path()), 1U);
        EXPECT_NE(message_of<InternalError>([&] { writer.finish(); }).find("0 of 3145728 bytes"), std::string::npos);
    }
    EXPECT_EQ(testing::entries_in(scratch.path()), 0U);
}

TEST(StagingPool, ThePoolHoldsTheShardOrIsCutIntoEightSlots) {
    CheckpointConfig config;
    EXPECT_EQ(pool_size(config, 0).bytes(), 4096U);
    EXPECT_EQ(pool_size(config, 4097).bytes(), 8192U);
    const PoolSize three_slots = pool_size(config, 130 * kMiB);
    EXPECT_EQ(three_slots.slot_bytes, 64 * kMiB);
    EXPECT_EQ(three_slots.slots, 3U);
    EXPECT_EQ(pool_size(config, 100 * kLargestAutomaticPool).bytes(), kLargestAutomaticPool);
    config.pool_mib = 8;
    EXPECT_EQ(pool_size(config, 9 * kMiB).slot_bytes, kMiB);
    EXPECT_EQ(pool_size(config, 9 * kMiB).slots, 8U);
    config.copy = "snapshot";
    EXPECT_EQ(pool_size(config, 8 * kMiB).bytes(), 8 * kMiB);
    EXPECT_EQ(message_of<ConfigError>([&] { pool_size(config, 9 * kMiB - 1); }),
              "checkpoint.pool_mib: a snapshot of this worker's 9 MiB was asked for, expected a pool of at least that, "
              "found 8 MiB; raise it, or set checkpoint.copy to \"lazy\" or \"auto\"");
}

TEST(StagingPool, SegmentsCoverEverySliceOnceAndKeepElementsWhole) {
    const HeldState state(small_model());
    const std::uint64_t slot = 64;
    std::vector<std::uint64_t> next(state.slices().size());
    std::uint64_t end_of_stream = 0;
    const auto slots = segments_of(state.slices(), slot);
    for (std::size_t number = 0; number < slots.size(); ++number) {
        for (const Segment& segment : slots[number]) {
            EXPECT_EQ(segment.first, next[segment.slice]);
            next[segment.slice] += segment.bytes;
            EXPECT_LE(segment.in_slot + segment.bytes, slot);
            EXPECT_EQ(segment.bytes % element_bytes(state.slices()[segment.slice].tensor.dtype), 0U);
            end_of_stream = number * slot + segment.in_slot + segment.bytes;
        }
    }
    for (std::size_t i = 0; i < next.size(); ++i) {
        const TensorSlice& slice = state.slices()[i];
        EXPECT_EQ(next[i],
                  static_cast<std::uint64_t>(num_elements(slice.box.extent)) * element_bytes(slice.tensor.dtype));
    }
    EXPECT_EQ(end_of_stream, stream_bytes(state.slices()));
    EXPECT_LE(slots.size(), (end_of_stream + slot - 1) / slot);
}

TEST(StagingPool, Row25MemoryThatTheSystemDoesNotHaveIsAConfigurationError) {
    const std::string message =
        message_of<ConfigError>([] { StagingPool pool({.slot_bytes = 1ULL << 56, .slots = 2}); });
    EXPECT_TRUE(message.starts_with("cannot have 137438953472 MiB of memory for copies of a checkpoint: ")) << message;
    EXPECT_TRUE(message.ends_with("; lower checkpoint.pool_mib")) << message;
}

}  // namespace
}  // namespace kiban::checkpoint
