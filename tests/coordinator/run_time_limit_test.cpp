// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

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

}  // namespace
}  // namespace kiban::coordinator
