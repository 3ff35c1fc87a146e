// SPDX-License-Identifier: Apache-2.0
// A shard written beside the work that changes what it was copied from.
#include "checkpoint/background_writer.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <ctime>
#include <fstream>
#include <mutex>
#include <thread>

#include "checkpoint/pace.h"
#include "checkpoint/reader.h"
#include "monitoring/error.h"
#include "tests/checkpoint/held_state.h"

namespace kiban::checkpoint {
namespace {

using testing::expect_same;
using testing::HeldState;
using testing::large_model;
using testing::Scratch;
using testing::small_model;
using testing::written_at_once;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMiB = 1 << 20;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// Takes the writer's answers.
class Answers {
  public:
    WriterHooks hooks() {
        return {.done = [this](ShardDone done) {
            const std::lock_guard lock(mutex_);
            done_.push_back(std::move(done));
            changed_.notify_all();
        }};
    }
    ShardDone next() {
        std::unique_lock lock(mutex_);
        EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [this] { return !done_.empty(); }));
        if (done_.empty()) return {.step = 0, .error = "no answer", .report = std::nullopt};
        ShardDone first = std::move(done_.front());
        done_.erase(done_.begin());
        return first;
    }
    std::size_t count() {
        const std::lock_guard lock(mutex_);
        return done_.size();
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<ShardDone> done_;
};

ShardJob job_of(const HeldState& state, std::uint64_t step = 7) {
    return {.step = step, .index = 0, .slices = state.slices()};
}

class Copying : public ::testing::TestWithParam<CopyMode> {};

// The write is held back until the state has been changed: only a copy can be right.
TEST_P(Copying, WhatChangesAfterTheWaitDoesNotReachTheFile) {
    for (const auto& model : {small_model(), large_model()}) {
        const Scratch expected_place;
        const Scratch scratch;
        HeldState state(model);
        const ShardReport expected = written_at_once(state, expected_place);
        Answers answers;
        BackgroundWriter writer;
        writer.open(pool_size({}, stream_bytes(state.slices())), answers.hooks());
        writer.begin(job_of(state), GetParam());
        EXPECT_TRUE(writer.wait_copied(60));
        state.change();
        EXPECT_TRUE(writer.busy());
        EXPECT_EQ(answers.count(), 0U);
        writer.place(7, scratch.path(), "");
        const ShardDone done = answers.next();
        ASSERT_EQ(done.error, "");
        EXPECT_EQ(done.step, 7U);
        expect_same(*done.report, expected);
    }
}
INSTANTIATE_TEST_SUITE_P(Mode, Copying, ::testing::Values(CopyMode::snapshot, CopyMode::lazy));

TEST(BackgroundWriter, Row25APoolSmallerThanATensorSavesInSlices) {
    const Scratch expected_place;
    const Scratch scratch;
    HeldState state(large_model());
    const ShardReport expected = written_at_once(state, expected_place);
    CheckpointConfig config;
    config.pool_mib = 1;  // of 3 MiB
    Answers answers;
    BackgroundWriter writer;
    writer.open(pool_size(config, stream_bytes(state.slices())), answers.hooks());
    EXPECT_EQ(writer.pool().size().bytes(), kMiB);
    writer.begin(job_of(state), CopyMode::lazy);
    EXPECT_FALSE(writer.wait_copied(0.2)) << "2 MiB have no slot before something is written";
    EXPECT_FALSE(writer.copied());
    writer.place(7, scratch.path(), "");
    EXPECT_TRUE(writer.wait_copied(60));
    state.change();
    const ShardDone done = answers.next();
    ASSERT_EQ(done.error, "");
    expect_same(*done.report, expected);
}

TEST(BackgroundWriter, Row25ASnapshotThatThePoolDoesNotHoldIsRefused) {
    const HeldState state(large_model());
    Answers answers;
    BackgroundWriter writer;
    writer.open({.slot_bytes = kMiB, .slots = 2}, answers.hooks());
    EXPECT_NE(message_of<InternalError>([&] {
                  writer.begin(job_of(state), CopyMode::snapshot);
              }).find("a shard of 3 slots was to be copied at once, the pool has 2"),
              std::string::npos);
}

TEST(BackgroundWriter, OneSaveAfterAnotherUsesTheSameSlots) {
    const HeldState state(small_model());
    Answers answers;
    BackgroundWriter writer;
    writer.open(pool_size({}, stream_bytes(state.slices())), answers.hooks());
    for (std::uint64_t step = 1; step <= 20; ++step) {
        const Scratch scratch;
        if (step % 2 == 0) writer.place(step, scratch.path(), "");  // it may be there before the save
        writer.begin(job_of(state, step), step % 3 == 0 ? CopyMode::lazy : CopyMode::snapshot);
        if (step % 2 != 0) writer.place(step, scratch.path(), "");
        const ShardDone done = answers.next();
        ASSERT_EQ(done.error, "") << step;
        EXPECT_EQ(done.step, step);
        EXPECT_TRUE(writer.wait_copied(0));
        while (writer.busy()) std::this_thread::yield();
    }
}

TEST(BackgroundWriter, ASaveBesideAnotherIsRefused) {
    const HeldState state(small_model());
    Answers answers;
    BackgroundWriter writer;
    writer.open(pool_size({}, stream_bytes(state.slices())), answers.hooks());
    writer.begin(job_of(state, 1), CopyMode::snapshot);
    EXPECT_NE(message_of<InternalError>([&] {
                  writer.begin(job_of(state, 2), CopyMode::snapshot);
              }).find("a save of step 2 was begun while another is under way"),
              std::string::npos);
}

TEST(BackgroundWriter, ASaveWithoutAPlaceEndsInSilenceAndTheNextIsWritten) {
    const Scratch scratch;
    const HeldState state(small_model());
    Answers answers;
    BackgroundWriter writer;
    writer.open(pool_size({}, stream_bytes(state.slices())), answers.hooks());
    writer.begin(job_of(state, 1), CopyMode::snapshot);
    writer.place(1, "", "the disk is full");
    while (writer.busy()) std::this_thread::yield();
    writer.begin(job_of(state, 2), CopyMode::snapshot);
    writer.place(2, scratch.path(), "");
    EXPECT_EQ(answers.next().step, 2U);
    EXPECT_EQ(answers.count(), 0U);
}

TEST(BackgroundWriter, ADirectoryThatIsNotThereIsTheAnswer) {
    const Scratch scratch;
    const HeldState state(small_model());
    Answers answers;
    BackgroundWriter writer;
    writer.open(pool_size({}, stream_bytes(state.slices())), answers.hooks());
    writer.begin(job_of(state), CopyMode::lazy);
    writer.place(7, scratch.path() / "missing", "");
    const ShardDone done = answers.next();
    EXPECT_TRUE(done.error.starts_with("IoError: ")) << done.error;
    EXPECT_FALSE(done.report);
    EXPECT_TRUE(writer.wait_copied(0)) << "nothing is to be copied any more";
}

TEST(BackgroundWriter, APlaceOfAnotherStepIsRefused) {
    const Scratch scratch;
    const HeldState state(small_model());
    Answers answers;
    BackgroundWriter writer;
    writer.open(pool_size({}, stream_bytes(state.slices())), answers.hooks());
    writer.begin(job_of(state, 8), CopyMode::snapshot);
    writer.place(7, scratch.path(), "");
    EXPECT_NE(answers.next().error.find("a place was given for step 7 when step 8 was to be saved"), std::string::npos);
    EXPECT_EQ(testing::entries_in(scratch.path()), 0U);
}

TEST(BackgroundWriter, ALimitHoldsUntilSomebodyIsInAHurry) {
    const Scratch scratch;
    const Scratch hurried;
    const HeldState state(large_model());
    Answers answers;
    BackgroundWriter writer;
    writer.open(pool_size({}, stream_bytes(state.slices())), answers.hooks());
    ShardJob job = job_of(state);
    job.bytes_per_second = 6.0 * kMiB;  // half a second for 3 MiB
    auto begin = Clock::now();
    writer.begin(job, CopyMode::snapshot);
    writer.place(7, scratch.path(), "");
    EXPECT_EQ(answers.next().error, "");
    EXPECT_GE(seconds_since(begin), 0.45);

    job.bytes_per_second = 0.05 * kMiB;  // a minute
    begin = Clock::now();
    writer.begin(job, CopyMode::snapshot);
    writer.place(7, hurried.path(), "");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_EQ(answers.count(), 0U);
    writer.hurry();
    EXPECT_EQ(answers.next().error, "");
    EXPECT_LT(seconds_since(begin), 30);
}

TEST(Pace, ALimitOfSpeedCutsChunksAndAShareOfAProcessorIsBoundByAnEvenSpread) {
    const Clock::time_point start;
    const auto at = [start](double seconds) {
        return start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    };
    EXPECT_EQ(Pace(64 * kMiB, 0, 0, start).chunk_bytes(), 4 * kMiB);
    EXPECT_EQ(Pace(64 * kMiB, 2.0 * kMiB, 0, start).chunk_bytes(), kMiB / 2);
    EXPECT_EQ(Pace(64 * kMiB, 1, 0, start).chunk_bytes(), 64U << 10);
    Pace none(64 * kMiB, 0, 0, start);
    EXPECT_EQ(none.next(at(5), 4 * kMiB, 1, true), at(5));
    Pace limited(64 * kMiB, 2.0 * kMiB, 0, start);
    EXPECT_EQ(limited.next(at(5), 4 * kMiB, 0, true), at(7));
    Pace spread(64 * kMiB, 0, 16, start);
    EXPECT_EQ((spread.next(at(0.25), 4 * kMiB, 0.0125, true) - at(0.5)).count(), 0) << "a twentieth";
    EXPECT_EQ(spread.next(at(1), 4 * kMiB, 10, true), at(2)) << "8 of 64 MiB in 2 of 16 seconds";
    EXPECT_EQ(spread.next(at(3), 4 * kMiB, 10, false), at(3)) << "training waits for slots";
}

double process_seconds() {
    timespec time{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// 64 MiB: what is not spread, the file's header and the waiting, weighs little.
struct Words {
    std::vector<float> values = std::vector<float>(16 << 20, 1.5F);
    TensorInfo tensor{{"words", "param"}, DType::f32, {16 << 20}};
    std::vector<TensorSlice> slices() const { return {{tensor, whole(tensor.shape), values.data()}}; }
};

TEST(BackgroundWriter, AWritingThatMayBeSpreadLeavesMostOfAProcessorToTraining) {
    const Scratch scratch;
    const Words words;
    Answers answers;
    BackgroundWriter writer;
    writer.open(pool_size({}, stream_bytes(words.slices())), answers.hooks());
    ShardJob job{.step = 7, .index = 0, .slices = words.slices()};
    job.spread_seconds = 60;
    writer.begin(job, CopyMode::snapshot);
    const auto begin = Clock::now();
    const double worked = process_seconds();
    writer.place(7, scratch.path(), "");
    EXPECT_EQ(answers.next().error, "");
    EXPECT_GT(seconds_since(begin), 5 * (process_seconds() - worked));
}

TEST(BackgroundWriter, ASpreadEndsInTimeAndAtOnceForSomebodyInAHurry) {
    const Scratch in_time;
    const Scratch hurried;
    const Words words;
    Answers answers;
    BackgroundWriter writer;
    writer.open(pool_size({}, stream_bytes(words.slices())), answers.hooks());
    ShardJob job{.step = 7, .index = 0, .slices = words.slices()};
    job.bytes_per_second = 1e12;
    job.spread_seconds = 1e-6;
    for (int turn = 0; turn < 2; ++turn) {
        writer.begin(job, CopyMode::snapshot);
        if (turn == 1) writer.hurry();
        writer.place(7, turn == 0 ? in_time.path() : hurried.path(), "");
        EXPECT_EQ(answers.next().error, "");
        job.spread_seconds = 1e6;  // longer than the answer is waited for
    }
}

TEST(BackgroundWriter, AnUpdateThatWaitsForCopiesLiftsTheLimit) {
    const Scratch scratch;
    const HeldState state(large_model());
    CheckpointConfig config;
    config.pool_mib = 1;
    Answers answers;
    BackgroundWriter writer;
    writer.open(pool_size(config, stream_bytes(state.slices())), answers.hooks());
    ShardJob job = job_of(state);
    job.bytes_per_second = 0.05 * kMiB;
    const auto begin = Clock::now();
    writer.begin(job, CopyMode::lazy);
    writer.place(7, scratch.path(), "");
    EXPECT_TRUE(writer.wait_copied(60));
    EXPECT_LT(seconds_since(begin), 30);
    writer.hurry();
    EXPECT_EQ(answers.next().error, "");
}

TEST(BackgroundWriter, NothingIsWrittenOnceItMayNot) {
    const Scratch scratch;
    const HeldState state(large_model());
    Answers answers;
    BackgroundWriter writer;
    WriterHooks hooks = answers.hooks();
    int asked = 0;
    hooks.may_write = [&asked] { return ++asked <= 1; };
    writer.open(pool_size({}, stream_bytes(state.slices())), std::move(hooks));
    writer.begin(job_of(state), CopyMode::snapshot);
    writer.place(7, scratch.path(), "");
    EXPECT_EQ(answers.next().error, "CommError: the coordinator is lost: nothing more is written");
    EXPECT_EQ(testing::entries_in(scratch.path()), 0U);
}

TEST(BackgroundWriter, AClosedWriterLeavesNoFileCallsNobodyAndReadsNothing) {
    const Scratch scratch;
    Answers answers;
    BackgroundWriter writer;
    {
        const HeldState state(large_model());
        CheckpointConfig config;
        config.pool_mib = 1;
        writer.open(pool_size(config, stream_bytes(state.slices())), answers.hooks());
        ShardJob job = job_of(state);
        job.bytes_per_second = 0.05 * kMiB;
        writer.begin(job, CopyMode::lazy);
        writer.place(7, scratch.path(), "");
        while (testing::entries_in(scratch.path()) == 0) std::this_thread::yield();
        writer.close();
    }
    while (writer.busy()) std::this_thread::yield();
    EXPECT_EQ(answers.count(), 0U);
    EXPECT_EQ(testing::entries_in(scratch.path()), 0U);
}

TEST(BackgroundWriter, TheCopyIsSharedOutOverThreads) {
    const Scratch expected_place;
    const Scratch scratch;
    HeldState state(large_model());
    const ShardReport expected = written_at_once(state, expected_place);
    Answers answers;
    BackgroundWriter writer;
    writer.open(pool_size({}, stream_bytes(state.slices())), answers.hooks());
    std::size_t parts_seen = 0;
    writer.begin(job_of(state), CopyMode::snapshot, [&](std::size_t parts, const auto& action) {
        parts_seen = parts;
        std::vector<std::thread> threads;
        for (std::size_t part = 0; part < parts; ++part) threads.emplace_back([&action, part] { action(part); });
        for (std::thread& thread : threads) thread.join();
    });
    EXPECT_EQ(parts_seen, 3U);
    state.change();
    writer.place(7, scratch.path(), "");
    const ShardDone done = answers.next();
    ASSERT_EQ(done.error, "");
    expect_same(*done.report, expected);
}

}  // namespace
}  // namespace kiban::checkpoint
