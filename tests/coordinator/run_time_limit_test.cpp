// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>

#include "coordinator/protocol/wire.h"
#include "coordinator/run/last_moment.h"
#include "coordinator/run/time_limit.h"

namespace kiban::coordinator {
namespace {

constexpr double kWall = 1.8e9;
constexpr double kNow = 500;

TimeLimit limit(std::uint32_t minutes, const std::string& job_end) {
    return TimeLimit::of({.time_limit_minutes = minutes}, job_end, kWall, kNow);
}

TEST(TimeLimit, IsTheEarlierOneOfTheRunFilesAndTheJobs) {
    EXPECT_EQ(limit(10, "").seconds_left(kNow), 600);
    EXPECT_EQ(limit(0, "1800000100").seconds_left(kNow), 100);
    EXPECT_EQ(limit(1, "1800000100").seconds_left(kNow), 60);
    EXPECT_EQ(limit(10, "1800000100").seconds_left(kNow + 30), 70);
}

TEST(TimeLimit, WithoutOneThereIsAlwaysTime) {
    for (const char* no_number : {"", "0", "-5", "soon", "1800000100s", "N/A", "NONE"}) {
        const TimeLimit none = limit(0, no_number);
        EXPECT_TRUE(std::isinf(none.seconds_left(1e18))) << no_number;
        EXPECT_FALSE(none.is_up(1e18, 1e9)) << no_number;
    }
}

TEST(TimeLimit, IsOverShortlyBeforeItsEnd) {
    const TimeLimit in_a_minute(kNow + 60);
    EXPECT_FALSE(in_a_minute.is_over(kNow + 60 - TimeLimit::kLastSeconds));
    EXPECT_TRUE(in_a_minute.is_over(kNow + 60.5 - TimeLimit::kLastSeconds));
    EXPECT_FALSE(TimeLimit().is_over(1e18));
}

TEST(TimeLimit, IsUpWhenASaveAndTheMarginJustFit) {
    const TimeLimit in_a_minute(kNow + 60);
    EXPECT_FALSE(in_a_minute.is_up(kNow, 60 - TimeLimit::kMarginSeconds));
    EXPECT_TRUE(in_a_minute.is_up(kNow, 60.5 - TimeLimit::kMarginSeconds));
    EXPECT_TRUE(in_a_minute.is_up(kNow + 100, 0)) << "past it";
}

TEST(LastMoment, ActsASecondBeforeTheEndUnlessItIsCancelled) {
    std::atomic<int> acted = 0;
    const auto act = [&acted] { ++acted; };
    const double now = monotonic_seconds();
    {
        LastMoment soon(TimeLimit(now + LastMoment::kSeconds + 0.2), act);
        LastMoment late(TimeLimit(now + 1e6), act);
        LastMoment never(TimeLimit(), act);
        LastMoment cancelled(TimeLimit(now + LastMoment::kSeconds + 0.2), act);
        cancelled.cancel();
        while (acted == 0 && monotonic_seconds() < now + 30) std::this_thread::sleep_for(std::chrono::milliseconds(10));
        EXPECT_GE(monotonic_seconds(), now + 0.2);
    }
    EXPECT_EQ(acted, 1) << "only the first, and the others end at once";
    EXPECT_LT(monotonic_seconds(), now + 30);
    LastMoment past(TimeLimit(now - 5), act);
    while (acted == 1 && monotonic_seconds() < now + 60) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_EQ(acted, 2);
}

}  // namespace
}  // namespace kiban::coordinator
