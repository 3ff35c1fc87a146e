// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "coordinator/run/interval.h"

namespace kiban::coordinator {
namespace {

using nlohmann::json;

json entry(const char* time, const char* event, json more = json::object()) {
    more.update({{"time", time}, {"event", event}});
    return more;
}

TEST(Interval, IsTheSquareRootOfTwiceTheCostTimesTheTimeBetweenFailures) {
    checkpoint::CheckpointConfig config;
    // The worked example of a stall of 0.2 s at a failure every 10012 s: 63 s.
    const IntervalInput input{.save_seconds = 0.2, .failure_seconds = 10012, .step_seconds = 0.5, .write_seconds = 3};
    EXPECT_EQ(interval_steps(input, config), 127U);  // sqrt(4004.8) = 63.28 s
    config.min_interval_steps = 200;
    EXPECT_EQ(interval_steps(input, config), 200U);
    config.min_interval_steps = 1;
    config.max_interval_steps = 100;
    EXPECT_EQ(interval_steps(input, config), 100U);
}

TEST(Interval, IsNeverShorterThanAWriteTakes) {
    const IntervalInput input{.save_seconds = 0, .failure_seconds = 10000, .step_seconds = 0.5, .write_seconds = 60};
    EXPECT_EQ(interval_steps(input, {}), 120U);
}

TEST(Interval, AnExpectationCountsAsOneFailure) {
    EXPECT_EQ(seconds_between_failures(3600, {}), 3600);
    EXPECT_EQ(seconds_between_failures(3600, {.trained_seconds = 7200, .failures = 0}), 10800);
    EXPECT_EQ(seconds_between_failures(3600, {.trained_seconds = 7200, .failures = 2}), 3600);
}

TEST(Interval, TheJournalTellsHowLongTheRunTrainedAndHowOftenItFailed) {
    const std::vector<json> journal = {
        entry("2026-01-31T23:00:00.000Z", "attempt_started"),
        entry("2026-01-31T23:59:00.000Z", "training"),
        entry("2026-02-01T00:01:00.500Z", "attempt_ended", {{"failed", true}}),  // 120.5 s over the month's end
        entry("2026-02-01T00:02:00.000Z", "attempt_started"),
        entry("2026-02-01T00:02:30.000Z", "training"),
        entry("2026-02-01T00:02:40.000Z", "checkpoint"),  // 10 s, then the coordinator died
        entry("2026-02-01T01:00:00.000Z", "attempt_started"),
        entry("2026-02-01T01:00:00.000Z", "training"),
        entry("2026-02-01T01:01:00.000Z", "attempt_ended", {{"failed", false}}),  // 60 s, and stopped as asked
        entry("2026-02-01T02:00:00.000Z", "attempt_started"),
        entry("2026-02-01T03:00:00.000Z", "attempt_ended", {{"failed", true}}),  // never came to train
        entry("2026-02-01T03:00:00.000Z", "attempt_started"),
        entry("2026-02-01T03:00:00.000Z", "training"),  // the one that asks
    };
    const FailureRecord record = failures_in(journal);
    EXPECT_DOUBLE_EQ(record.trained_seconds, 190.5);
    EXPECT_EQ(record.failures, 2U);
    EXPECT_EQ(failures_in({}).failures, 0U);
}

TEST(Interval, AClockThatWentBackIsNoTime) {
    const FailureRecord record = failures_in({entry("2026-01-02T00:00:00.000Z", "training"),
                                              entry("2026-01-01T00:00:00.000Z", "attempt_ended", {{"failed", true}})});
    EXPECT_EQ(record.trained_seconds, 0);
    EXPECT_EQ(record.failures, 1U);
    EXPECT_EQ(failures_in({entry("yesterday", "training"), json{{"event", "attempt_ended"}}}).failures, 0U);
}

TEST(SaveCost, IsTheStallAndWhatStepsTakeLongerWhileShardsAreWritten) {
    SaveCost cost;
    EXPECT_FALSE(cost.step(1.0, 0));
    EXPECT_FALSE(cost.save_seconds());
    cost.save_began();
    EXPECT_FALSE(cost.step(1.25, 0.5));
    EXPECT_FALSE(cost.step(1.75, 0));
    EXPECT_FALSE(cost.step(0.75, 0)) << "noise of steps cancels";
    cost.save_ended();
    EXPECT_TRUE(cost.step(1.0, 0));
    EXPECT_DOUBLE_EQ(*cost.save_seconds(), 0.5 + 0.25 + 0.5);
    EXPECT_DOUBLE_EQ(*cost.step_seconds(), 1.0);
}

TEST(SaveCost, AWriteThatEndsWithinAStepStillHasItsStall) {
    SaveCost cost;
    cost.step(1.0, 0);
    cost.save_began();
    cost.save_ended();
    EXPECT_TRUE(cost.step(1.0, 0.125));
    EXPECT_DOUBLE_EQ(*cost.save_seconds(), 0.125);
    cost.save_began();
    cost.forget();
    EXPECT_FALSE(cost.step(1.0, 7));
    EXPECT_DOUBLE_EQ(*cost.save_seconds(), 0.125);
}

}  // namespace
}  // namespace kiban::coordinator
