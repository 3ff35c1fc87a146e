// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/generalisation.h"

#include <gtest/gtest.h>

#include <vector>

namespace kiban::monitoring::detect {
namespace {

constexpr auto kUnknown = std::numeric_limits<double>::quiet_NaN();

// Evaluations each 10 steps; returns the steps of "grokking" events.
struct Story {
    GeneralisationState state;
    std::uint64_t step = 0;
    std::vector<Event> events;

    void go(int evaluations, double train, double holdout, double train_accuracy = kUnknown,
            double holdout_accuracy = kUnknown, double norm = kUnknown) {
        for (int i = 0; i < evaluations; ++i) {
            step += 10;
            const auto event =
                observe(state, {step, step * 100, train, holdout, train_accuracy, holdout_accuracy, norm});
            if (event) events.push_back(*event);
        }
    }
};

TEST(Generalisation, LongAfterTheTrainingSetWasKnownIsGrokking) {
    Story story;
    story.go(9, 2, 4);
    story.go(30, 0.01, 8);  // known since step 100
    EXPECT_EQ(story.state.stage, GeneralisationState::memorised);
    story.go(3, 0.01, 5);
    EXPECT_EQ(story.state.stage, GeneralisationState::early_sign);
    EXPECT_TRUE(story.events.empty());
    story.go(5, 0.01, 0.1);  // from step 430 on
    ASSERT_EQ(story.events.size(), 1u);
    EXPECT_EQ(story.events[0].kind, EventKind::grokking);
    EXPECT_EQ(story.events[0].step, 450u);
    EXPECT_EQ(story.events[0].since_step, 430u);
    EXPECT_DOUBLE_EQ(story.events[0].size, 4.3);
    EXPECT_DOUBLE_EQ(story.state.delay_ratio, 4.3);
}

TEST(Generalisation, TogetherWithTheTrainingSetIsNone) {
    Story story;
    story.go(9, 2, 4);
    story.go(30, 0.01, 0.1);
    EXPECT_TRUE(story.events.empty());
    EXPECT_DOUBLE_EQ(story.state.delay_ratio, 1.0);
}

TEST(Generalisation, ThatNeverComesIsNone) {
    Story story;
    story.go(9, 2, 4);
    story.go(1000, 0.01, 8);
    EXPECT_TRUE(story.events.empty());
    EXPECT_EQ(story.state.stage, GeneralisationState::memorised);
}

TEST(Generalisation, AccuraciesOutrankLosses) {
    Story story;
    story.go(10, 0.5, 3, 1.0, 0.1);  // known since step 10 by accuracy, though its loss is 0.5
    story.go(10, 0.5, 3, 1.0, 0.95);
    ASSERT_EQ(story.events.size(), 1u);
    EXPECT_DOUBLE_EQ(story.events[0].size, 11);
}

TEST(Generalisation, ASignNeedsANormThatIsPastItsPeakWhereOneIsKnown) {
    for (const bool past : {false, true}) {
        Story story;
        story.go(9, 2, 4, kUnknown, kUnknown, 30);
        story.go(10, 0.01, 8, kUnknown, kUnknown, 35);
        story.go(5, 0.01, 5, kUnknown, kUnknown, past ? 33 : 36);
        EXPECT_EQ(story.state.stage, past ? GeneralisationState::early_sign : GeneralisationState::memorised);
    }
}

TEST(Generalisation, OneGoodEvaluationIsNotThree) {
    Story story;
    story.go(9, 2, 4);
    for (int i = 0; i < 20; ++i) {
        story.go(2, 0.01, 8);
        story.go(1, 0.01, 0.1);
    }
    EXPECT_TRUE(story.events.empty());
}

}  // namespace
}  // namespace kiban::monitoring::detect
