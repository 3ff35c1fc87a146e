// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "coordinator/job/train_config.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

OptimizerConfig peak(double learning_rate) {
    OptimizerConfig optimizer;
    optimizer.learning_rate = learning_rate;
    return optimizer;
}

ScheduleConfig schedule(ScheduleName name, std::uint64_t warmup, double final_ratio) {
    ScheduleConfig made;
    made.name = name;
    made.warmup_steps = warmup;
    made.final_ratio = final_ratio;
    return made;
}

// nanoGPT's train.py, get_lr(it), with its own operation order (it counts from 0).
double nanogpt_get_lr(double learning_rate, double min_lr, std::uint64_t warmup_iters, std::uint64_t lr_decay_iters,
                      std::uint64_t it) {
    if (it < warmup_iters) return learning_rate * static_cast<double>(it + 1) / static_cast<double>(warmup_iters + 1);
    if (it > lr_decay_iters) return min_lr;
    const double decay_ratio =
        static_cast<double>(it - warmup_iters) / static_cast<double>(lr_decay_iters - warmup_iters);
    const double coeff = 0.5 * (1.0 + std::cos(std::numbers::pi * decay_ratio));
    return min_lr + coeff * (learning_rate - min_lr);
}

TEST(Schedule, CosineIsNanoGptsToTheLastBit) {
    const OptimizerConfig optimizer = peak(1e-3);
    const ScheduleConfig cosine = schedule(ScheduleName::cosine, 100, 0.1);
    for (std::uint64_t step = 1; step <= 2000; ++step) {
        ASSERT_EQ(learning_rate_at(optimizer, cosine, step, 2000),
                  nanogpt_get_lr(1e-3, 1e-3 * 0.1, 100, 2000, step - 1))
            << step;
    }
}

TEST(Schedule, CosinePassesItsKnownPoints) {
    const ScheduleConfig cosine = schedule(ScheduleName::cosine, 0, 0.0);
    EXPECT_DOUBLE_EQ(learning_rate_at(peak(2.0), cosine, 1, 100), 2.0);
    EXPECT_DOUBLE_EQ(learning_rate_at(peak(2.0), cosine, 51, 100), 1.0);                              // half-way
    EXPECT_NEAR(learning_rate_at(peak(2.0), cosine, 26, 100), 1.0 + std::numbers::sqrt2 / 2, 1e-12);  // a quarter
}

TEST(Schedule, WarmUpIsALineThroughTheOriginUpToThePeak) {
    for (const ScheduleName name :
         {ScheduleName::cosine, ScheduleName::wsd, ScheduleName::linear, ScheduleName::constant}) {
        const ScheduleConfig warm = schedule(name, 9, 0.1);
        for (std::uint64_t step = 1; step <= 9; ++step) {
            EXPECT_DOUBLE_EQ(learning_rate_at(peak(1.0), warm, step, 100), static_cast<double>(step) / 10.0);
        }
        EXPECT_DOUBLE_EQ(learning_rate_at(peak(1.0), warm, 10, 100), 1.0);
    }
}

TEST(Schedule, ConstantStaysAtThePeak) {
    const ScheduleConfig constant = schedule(ScheduleName::constant, 0, 0.1);
    for (std::uint64_t step = 1; step <= 50; ++step) EXPECT_EQ(learning_rate_at(peak(0.3), constant, step, 50), 0.3);
}

TEST(Schedule, LinearFallsByEqualSteps) {
    const ScheduleConfig linear = schedule(ScheduleName::linear, 10, 0.2);
    for (std::uint64_t step = 11; step <= 110; ++step) {
        EXPECT_NEAR(learning_rate_at(peak(1.0), linear, step, 110), 1.0 - 0.8 * static_cast<double>(step - 11) / 100.0,
                    1e-15);
    }
}

TEST(Schedule, WsdIsStableThenDecaysOverItsLastSteps) {
    ScheduleConfig wsd = schedule(ScheduleName::wsd, 10, 0.0);
    wsd.decay_steps = 25;
    for (std::uint64_t step = 11; step <= 76; ++step)
        EXPECT_EQ(learning_rate_at(peak(1.0), wsd, step, 100), 1.0) << step;
    for (std::uint64_t step = 77; step <= 100; ++step) {
        EXPECT_NEAR(learning_rate_at(peak(1.0), wsd, step, 100), 1.0 - static_cast<double>(step - 76) / 25.0, 1e-15)
            << step;
    }
    wsd.decay = DecayShape::sqrt;
    EXPECT_DOUBLE_EQ(learning_rate_at(peak(1.0), wsd, 92, 100), 1.0 - std::sqrt(16.0 / 25.0));
}

TEST(Schedule, WsdDecaysOverATenthUnlessTold) {
    const ScheduleConfig wsd = schedule(ScheduleName::wsd, 0, 0.5);
    EXPECT_EQ(learning_rate_at(peak(1.0), wsd, 91, 100), 1.0);
    EXPECT_NEAR(learning_rate_at(peak(1.0), wsd, 100, 100), 1.0 - 0.5 * 0.9, 1e-15);
    EXPECT_EQ(learning_rate_at(peak(1.0), wsd, 5, 5), 1.0);  // one step of decay: it starts at the peak
}

TEST(Schedule, AWarmUpLongerThanTheRunIsNotFinished) {
    const ScheduleConfig cosine = schedule(ScheduleName::cosine, 100, 0.1);
    EXPECT_DOUBLE_EQ(learning_rate_at(peak(1.01), cosine, 20, 20), 1.01 * 20 / 101);
}

TEST(Schedule, AStepOutsideTheRunIsAnInternalError) {
    EXPECT_THROW(learning_rate_at(peak(1.0), ScheduleConfig{}, 0, 10), InternalError);
    EXPECT_THROW(learning_rate_at(peak(1.0), ScheduleConfig{}, 11, 10), InternalError);
}

}  // namespace
}  // namespace kiban::coordinator
