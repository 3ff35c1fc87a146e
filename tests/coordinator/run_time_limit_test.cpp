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

// Waits, half a minute at most, until somebody has acted.
void wait_for(const std::atomic<int>& acted) {
    const double until = monotonic_seconds() + 30;
    while (acted == 0 && monotonic_seconds() < until) std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

TEST(LastMoment, ActsASecondBeforeTheEnd) {
    std::atomic<int> acted = 0;
    const auto act = [&acted](LastWords) { ++acted; };
    const double now = monotonic_seconds();
    {
        LastMoment soon(TimeLimit(now + LastMoment::kSeconds + 0.2), true, act);
        LastMoment late(TimeLimit(now + 1e6), true, act);
        LastMoment never(TimeLimit(), true, act);
        wait_for(acted);
        EXPECT_GE(monotonic_seconds(), now + 0.2);
    }
    EXPECT_EQ(acted, 1) << "only the first, and the others end at once";
    EXPECT_LT(monotonic_seconds(), now + 30);
    acted = 0;
    LastMoment past(TimeLimit(now - 5), true, act);
    wait_for(acted);
    EXPECT_EQ(acted, 1);
}

TEST(LastMoment, DoesNotActOnceItIsCancelled) {
    std::atomic<int> acted = 0;
    LastMoment cancelled(TimeLimit(monotonic_seconds() + LastMoment::kSeconds + 1.5), true,
                         [&acted](LastWords) { ++acted; });
    cancelled.cancel();
    std::this_thread::sleep_for(std::chrono::seconds(2));
    EXPECT_EQ(acted, 0);
}

TEST(LastMoment, GoesBackAsItMayOrForProgressButNotOnceItIsDecidedOtherwise) {
    const auto words = [](bool may_go_back, const std::function<void(LastMoment&)>& before) {
        std::atomic<int> acted = 0;
        LastWords said;
        LastMoment moment(TimeLimit(monotonic_seconds() + LastMoment::kSeconds + 0.3), may_go_back,
                          [&](LastWords last) { said = last, ++acted; });
        before(moment);
        wait_for(acted);
        return std::pair(said.goes_back, said.exit_code);
    };
    const auto nothing = [](LastMoment&) {};
    const auto progress = [](LastMoment& moment) { moment.note_progress(); };
    const auto decided = [](LastMoment& moment) {
        moment.note_progress();
        moment.stay_away(74);
    };
    EXPECT_EQ(words(true, nothing), std::pair(true, 75));
    EXPECT_EQ(words(false, nothing), std::pair(false, 75));
    EXPECT_EQ(words(false, progress), std::pair(true, 75));
    EXPECT_EQ(words(true, decided), std::pair(false, 74));
}

}  // namespace
}  // namespace kiban::coordinator
