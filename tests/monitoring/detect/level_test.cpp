// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/level.h"

#include <gtest/gtest.h>

#include "tests/monitoring/detect/simulate.h"

namespace kiban::monitoring::detect {
namespace {

template <typename Value>
std::vector<Event> events(std::uint64_t samples, double rho, Value value) {
    LevelState state;
    CorrelatedNoise noise(11, rho);
    std::vector<Event> found;
    for (std::uint64_t i = 0; i < samples; ++i) {
        const Sample sample = late_sample(i, value(i) + 0.1 * noise.next());
        if (const auto event = observe(state, Series::train_loss, sample)) found.push_back(*event);
    }
    return found;
}

TEST(Level, ASumLeavesZeroAndAlarmsAsPageSays) {
    Cusum cusum;
    EXPECT_EQ(cusum.add(0.25, 1), 0);  // below the allowance
    EXPECT_EQ(cusum.up, 0);
    for (std::uint64_t step = 2; step <= 4; ++step) EXPECT_EQ(cusum.add(3.0, step), 0);
    EXPECT_EQ(cusum.up, 7.5);
    EXPECT_EQ(cusum.add(3.0, 5), 1);  // 4 x 2.5 = 10
    EXPECT_EQ(cusum.up_since, 2u);
    cusum.clear();
    for (std::uint64_t step = 6; step <= 8; ++step) EXPECT_EQ(cusum.add(-3.0, step), 0);
    EXPECT_EQ(cusum.add(-3.0, 9), -1);
}

TEST(Level, AJumpDownIsFoundWithinAFewStepsAndDated) {
    const auto found = events(900, 0.5, [](std::uint64_t i) { return i < 600 ? 2.0 : 1.4; });
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].kind, EventKind::jump_down);
    EXPECT_LE(found[0].step, 600u + 12u);
    EXPECT_NEAR(static_cast<double>(found[0].since_step), 601, 8);
    EXPECT_NEAR(found[0].size, -0.6, 0.25);
    EXPECT_NE(found[0].detail.find("phi 0."), std::string::npos) << found[0].detail;
}

TEST(Level, AJumpUpIsTold) {
    const auto found = events(900, 0, [](std::uint64_t i) { return i < 600 ? 2.0 : 2.6; });
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].kind, EventKind::jump_up);
}

TEST(Level, ACurveThatBeginsToFallFasterIsAChangeOfSlope) {
    // From flat to 6 sigma in 100 steps.
    const auto found =
        events(800, 0.3, [](std::uint64_t i) { return i < 600 ? 2.0 : 2.0 - 0.006 * static_cast<double>(i - 600); });
    ASSERT_FALSE(found.empty());
    EXPECT_EQ(found[0].kind, EventKind::jump_down);
    EXPECT_LT(found[0].step, 700u);
}

TEST(Level, AFallAlongALineOfLogTokensIsNoChange) {
    EXPECT_TRUE(events(2000, 0.3, [](std::uint64_t i) {
                    return 20 - std::log2(static_cast<double>((i + 2000) * 1000));
                }).empty());
}

TEST(Level, OneWildValueIsNoChange) {
    EXPECT_TRUE(events(1000, 0, [](std::uint64_t i) { return i == 700 ? 500.0 : 2.0; }).empty());
}

TEST(Level, NothingIsSaidWhileTheWindowSpansMoreThanADoubling) {
    LevelState state;
    for (std::uint64_t step = 1; step <= 700; ++step) {  // at step 700 the oldest of the window is at 301
        const double value = step == 500 ? 2.0 : step > 500 ? 9.0 : 4.0;
        EXPECT_FALSE(observe(state, Series::train_loss, {step, step, value}).has_value());
    }
}

TEST(Level, AValueThatIsNotFiniteIsPassedOver) {
    EXPECT_TRUE(events(1000, 0, [](std::uint64_t i) { return i % 100 == 99 ? std::nan("") : 2.0; }).empty());
}

}  // namespace
}  // namespace kiban::monitoring::detect
