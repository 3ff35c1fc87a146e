// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "coordinator/job/anomaly.h"

namespace kiban::coordinator {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Losses 2 + 0.1 sin(i), norms 1 + 0.5 sin(i): the median of the losses is 2 and their median distance from it that of
// 0.1 |sin|, 0.1 sin(pi/4).
void train(AnomalyWatch& watch, int steps) {
    for (int i = 0; i < steps; ++i)
        ASSERT_EQ(watch.judge(2 + 0.1 * std::sin(i), 1 + 0.5 * std::sin(i)).verdict, StepVerdict::healthy) << i;
}

TEST(Anomalies, WhatIsNotFiniteIsRefusedFromTheFirstStepOn) {
    for (const auto& [loss, norm] : {std::pair(kNan, 1.0), std::pair(2.0, kNan), std::pair(kInfinity, 1.0)}) {
        AnomalyWatch watch({});
        const StepJudgement judgement = watch.judge(loss, norm);
        EXPECT_EQ(judgement.verdict, StepVerdict::refused);
        EXPECT_EQ(judgement.kind, "non_finite");
    }
}

TEST(Anomalies, BeforeTheWindowIsFullNothingIsASpike) {
    AnomalyWatch watch({});
    train(watch, 99);
    EXPECT_EQ(watch.judge(1e6, 1e6).verdict, StepVerdict::healthy);
}

TEST(Anomalies, ANormAboveTenTimesTheLargestOfTheWindowIsASpike) {
    AnomalyWatch watch({});
    train(watch, 100);
    AnomalyWatch below = watch;
    EXPECT_EQ(below.judge(2, 14.9).verdict, StepVerdict::healthy) << "the largest is 1 + 0.5 sin(33) = 1.49996";
    const StepJudgement judgement = watch.judge(2, 15.1);
    EXPECT_EQ(judgement.verdict, StepVerdict::refused);
    EXPECT_EQ(judgement.kind, "norm_spike");
    AnomalyConfig off;
    off.spike_norm_ratio = 0;
    AnomalyWatch blind(off);
    train(blind, 100);
    EXPECT_EQ(blind.judge(2, 1e9).verdict, StepVerdict::healthy);
}

TEST(Anomalies, ALossTenDeviationsAboveTheMedianIsASpikeAndOneBelowIsNot) {
    AnomalyWatch watch({});
    train(watch, 100);
    const double deviation = 1.4826 * 0.1 * std::sin(std::numbers::pi / 4);
    AnomalyWatch below = watch;
    EXPECT_EQ(below.judge(2 + 9.5 * deviation, 1).verdict, StepVerdict::healthy);
    AnomalyWatch falls = watch;
    EXPECT_EQ(falls.judge(0.01, 1).verdict, StepVerdict::healthy);
    const StepJudgement judgement = watch.judge(2 + 10.5 * deviation, 1);
    EXPECT_EQ(judgement.verdict, StepVerdict::refused);
    EXPECT_EQ(judgement.kind, "loss_spike");
}

TEST(Anomalies, AWindowWithoutNoiseKnowsDeviationsOfTwoPercent) {
    AnomalyWatch watch({});
    for (int i = 0; i < 100; ++i) watch.judge(2, 1);
    AnomalyWatch below = watch;
    EXPECT_EQ(below.judge(2.39, 1).verdict, StepVerdict::healthy);
    EXPECT_EQ(watch.judge(2.41, 1).verdict, StepVerdict::refused);
}

TEST(Anomalies, ARefusedStepIsNoPartOfWhatIsUsual) {
    AnomalyConfig config;
    config.max_in_window = 1000;
    AnomalyWatch watch(config);
    train(watch, 100);
    for (int i = 0; i < 50; ++i) {
        EXPECT_EQ(watch.judge(9, 1).verdict, StepVerdict::refused) << "the ninth is as strange as the first";
        watch.judge(2, 1);
    }
}

TEST(Anomalies, ThreeInARowOrFiveOfAHundredAskForARollback) {
    AnomalyWatch in_a_row({});
    EXPECT_EQ(in_a_row.judge(kNan, 1).verdict, StepVerdict::refused);
    EXPECT_EQ(in_a_row.judge(kNan, 1).verdict, StepVerdict::refused);
    EXPECT_EQ(in_a_row.judge(kNan, 1).verdict, StepVerdict::roll_back);

    AnomalyWatch scattered({});
    for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(scattered.judge(kNan, 1).verdict, StepVerdict::refused);
        scattered.judge(2, 1);
    }
    AnomalyWatch later = scattered;
    EXPECT_EQ(scattered.judge(kNan, 1).verdict, StepVerdict::roll_back);
    for (int i = 0; i < 93; ++i) later.judge(2, 1);  // the first of the four is 101 steps ago then
    EXPECT_EQ(later.judge(kNan, 1).verdict, StepVerdict::refused);
}

TEST(Anomalies, StoredAndReadBackItJudgesAsBefore) {
    AnomalyWatch watch({});
    train(watch, 100);
    watch.judge(kNan, 1);
    watch.judge(9, 1);
    AnomalyWatch back = AnomalyWatch::from_json(nlohmann::json::parse(watch.to_json().dump()), {});
    EXPECT_EQ(back.to_json(), watch.to_json());
    EXPECT_EQ(back.judge(9, 1).verdict, StepVerdict::roll_back);
    EXPECT_EQ(AnomalyWatch::from_json(nullptr, {}).to_json(), AnomalyWatch({}).to_json());
    EXPECT_THROW(AnomalyWatch::from_json({{"losses", "none"}}, {}), CheckpointError);
    nlohmann::json uneven = watch.to_json();
    uneven["norms"].push_back(1.0);
    EXPECT_THROW(AnomalyWatch::from_json(uneven, {}), CheckpointError);
}

}  // namespace
}  // namespace kiban::coordinator
