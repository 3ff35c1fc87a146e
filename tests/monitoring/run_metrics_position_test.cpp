// SPDX-License-Identifier: Apache-2.0
// Where a run stands, as its metrics tell it: over resumes, and in the middle of a step.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <thread>

#include "monitoring/curve.h"
#include "monitoring/run_metrics.h"
#include "tests/monitoring/simulated_run.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {
namespace {

// Attempt 1 did 20 steps, attempt 2 went on from step 10 and did 5: step s has loss 10 - s / 10, an evaluation after
// step 10, and one spike at step 18, which was rolled back.
Curve rolled_back(const TempDirectory& directory) {
    CurveWriter writer(directory.path());
    const auto append = [&](std::uint64_t first, std::uint64_t last) {
        for (std::uint64_t step = first; step <= last; ++step) {
            CurveRow row = row_of(step, step == 18 ? 50.0 : 10.0 - 0.1 * static_cast<double>(step));
            if (step == 10) row.eval_loss = 9.5;
            row.wall_time = 1.7e9 + static_cast<double>(step);
            writer.append(row);
        }
    };
    writer.begin_attempt(1, 0);
    append(1, 20);
    writer.begin_attempt(2, 10);
    append(11, 15);
    writer.sync();
    return read_curve(directory.path());
}

TEST(RunMetricsPosition, TheRecordKnowsTheHighestStepThatAnyAttemptReached) {
    const TempDirectory directory;
    const Curve record = rolled_back(directory);
    EXPECT_EQ(record.rows.back().step, 15u);
    EXPECT_EQ(record.highest_step, 20u);
}

TEST(RunMetricsPosition, AResumedRunShowsTheRecordOfTheStepResumedFromAndCountsNothing) {
    const TempDirectory directory;
    const Curve record = rolled_back(directory);
    RunMetrics metrics(identity());
    metrics.resumed(record, 15, true);
    EXPECT_EQ(value_of(metrics, "kiban_train_step"), 15);
    EXPECT_EQ(value_of(metrics, "kiban_train_tokens_seen"), 1500);
    EXPECT_NEAR(value_of(metrics, "kiban_train_loss_nats"), 8.5, 1e-9);
    EXPECT_NEAR(value_of(metrics, "kiban_train_loss_max_nats"), 9.9, 1e-9) << "the spike was rolled back";
    EXPECT_EQ(value_of(metrics, "kiban_eval_loss_nats", "run=\"demo\",split=\"holdout\""), 9.5);
    EXPECT_EQ(value_of(metrics, "kiban_eval_step"), 10);
    EXPECT_EQ(value_of(metrics, "kiban_train_last_step_timestamp_seconds"), 1.7e9 + 15);
    EXPECT_EQ(value_of(metrics, "kiban_checkpoint_last_step"), 15);
    EXPECT_EQ(value_of(metrics, "kiban_train_step_high_water"), 20);
    EXPECT_EQ(value_of(metrics, "kiban_steps_total"), 0) << "counters begin with the process";
    EXPECT_EQ(value_of(metrics, "kiban_train_loss_tokens_total"), 0);
}

TEST(RunMetricsPosition, TheHighWaterMarkNeverFallsWhilePositionFallsToTheCheckpoint) {
    RunMetrics metrics(identity());
    for (std::uint64_t step = 1; step <= 12; ++step) metrics.step(row_of(step, 2.0), 100, false, {});
    Curve record;
    for (std::uint64_t step = 1; step <= 8; ++step) record.rows.push_back(row_of(step, 2.0));
    record.highest_step = 12;
    metrics.resumed(record, 8, true);
    EXPECT_EQ(value_of(metrics, "kiban_train_step"), 8);
    EXPECT_EQ(value_of(metrics, "kiban_train_step_high_water"), 12);
    metrics.step(row_of(9, 2.0), 100, false, {});
    EXPECT_EQ(value_of(metrics, "kiban_train_step_high_water"), 12);
    for (std::uint64_t step = 10; step <= 13; ++step) metrics.step(row_of(step, 2.0), 100, false, {});
    EXPECT_EQ(value_of(metrics, "kiban_train_step_high_water"), 13);
}

TEST(RunMetricsPosition, ARunWithoutARecordStandsAtTheStepItStartsFrom) {
    RunMetrics metrics(identity());
    metrics.resumed({}, 0, false);
    EXPECT_EQ(value_of(metrics, "kiban_train_step"), 0);
    EXPECT_EQ(value_of(metrics, "kiban_train_step_high_water"), 0);
    EXPECT_FALSE(exposes(metrics, "kiban_checkpoint_last_step{"));
    EXPECT_FALSE(exposes(metrics, "kiban_train_loss_nats{"));
}

TEST(RunMetricsPosition, TheLongestStepOfAHundredStaysVisible) {
    RunMetrics metrics(identity());
    for (std::uint64_t step = 1; step <= 101; ++step) {
        CurveRow row = row_of(step, 2.0);
        row.step_seconds = step == 2 ? 4.0 : 0.03;
        metrics.step(row, 100, false, {});
    }
    EXPECT_EQ(value_of(metrics, "kiban_step_duration_max_seconds"), 4.0);
    metrics.step(row_of(102, 2.0), 100, false, {});
    EXPECT_EQ(value_of(metrics, "kiban_step_duration_max_seconds"), 0.03);
}

// The loss of step s is s, so a scrape that mixes two steps shows.
TEST(RunMetricsPosition, StepLossAndCountersOfOneScrapeBelongTogether) {
    RunMetrics metrics(identity());
    metrics.step(row_of(1, 1.0), 100, false, {});
    std::atomic<bool> stop = false;
    std::thread steps([&] {
        for (std::uint64_t step = 2; !stop; ++step)
            metrics.step(row_of(step, static_cast<double>(step)), 100, false, {});
    });
    for (int scrape = 0; scrape < 200; ++scrape) {
        const std::string text = metrics.text();
        const double step = value_in(text, "kiban_train_step");
        EXPECT_EQ(value_in(text, "kiban_train_loss_nats"), step);
        EXPECT_EQ(value_in(text, "kiban_train_tokens_seen"), 100 * step);
        EXPECT_EQ(value_in(text, "kiban_steps_total"), step);
        EXPECT_EQ(value_in(text, "kiban_train_loss_nats_total"), 100 * step * (step + 1) / 2);
    }
    stop = true;
    steps.join();
}

}  // namespace
}  // namespace kiban::monitoring
