// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/plateau.h"

#include <gtest/gtest.h>

#include "tests/monitoring/detect/simulate.h"

namespace kiban::monitoring::detect {
namespace {

// `value` of log2(tokens), at 32 places a doubling from 2^20 on.
template <typename Value>
std::vector<Event> events(double doublings, double noise, Value value) {
    PlateauState state;
    Random random(13);
    std::vector<Event> found;
    for (int i = 0; i < static_cast<int>(doublings * 32); ++i) {
        const double x = 20 + i / 32.0;
        const Sample sample = {.step = static_cast<std::uint64_t>(i) + 1,
                               .tokens = static_cast<std::uint64_t>(std::exp2(x)),
                               .value = value(x) + noise * random.normal()};
        if (const auto event = observe(state, Series::holdout_loss, sample)) found.push_back(*event);
    }
    return found;
}

TEST(Plateau, IsEnteredOnAFlatStretchAndLeftWhenTheCurveFallsAgain) {
    const auto found = events(6, 0.001, [](double x) { return x < 21 ? 26 - x : x < 24 ? 5.0 : 5 - (x - 24); });
    ASSERT_EQ(found.size(), 2u);
    EXPECT_EQ(found[0].kind, EventKind::plateau_enter);
    EXPECT_GE(found[0].tokens, static_cast<std::uint64_t>(std::exp2(21.5)));
    EXPECT_LE(found[0].tokens, static_cast<std::uint64_t>(std::exp2(22.1))) << "half a doubling after a full window";
    EXPECT_GE(found[0].since_step, 20u);
    EXPECT_LE(found[0].since_step, 42u) << "step 33 is where it is flat";
    EXPECT_EQ(found[1].kind, EventKind::plateau_exit);
    EXPECT_GE(found[1].tokens, static_cast<std::uint64_t>(std::exp2(24.0)));
    EXPECT_LE(found[1].tokens, static_cast<std::uint64_t>(std::exp2(24.6)));
    EXPECT_EQ(found[1].since_step, found[0].since_step);
}

TEST(Plateau, SaysWhatItCouldHaveSeenAndGivesNoVerdict) {
    const auto found = events(3, 0.001, [](double) { return 5.0; });
    ASSERT_EQ(found.size(), 1u);
    EXPECT_NE(found[0].detail.find("not a verdict"), std::string::npos);
    EXPECT_NE(found[0].detail.find("power to see a slope of 0.01: 1.00"), std::string::npos) << found[0].detail;
    for (const char* word : {"converge", "stop", "finished", "enough"})
        EXPECT_EQ(found[0].detail.find(word), std::string::npos) << word;
}

TEST(Plateau, ANoisyCurveIsNotKnownToBeFlat) {
    EXPECT_TRUE(events(6, 0.05, [](double) { return 5.0; }).empty()) << "an interval of +-0.1 shows nothing";
}

TEST(Plateau, ASlowFallIsNone) {
    EXPECT_TRUE(events(6, 0.001, [](double x) { return 10 - 0.02 * x; }).empty());
}

TEST(Plateau, StepsCloserThanABlockAreAveraged) {
    PlateauState state;
    Random random(17);
    bool entered = false;
    for (std::uint64_t step = 1000; step <= 40'000; ++step) {
        const auto event = observe(state, Series::train_loss, {step, 1000 * step, 3 + 0.03 * random.normal()});
        entered = entered || (event && event->kind == EventKind::plateau_enter);
    }
    EXPECT_TRUE(entered) << "noise of 0.03 a step is 0.0015 a block of 400";
}

}  // namespace
}  // namespace kiban::monitoring::detect
