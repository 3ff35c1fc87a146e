// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/spike.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/monitoring/detect/simulate.h"

namespace kiban::monitoring::detect {
namespace {

constexpr SpikeRule kLoss = {.series = Series::train_loss, .logarithm = false, .divergence = true};
constexpr SpikeRule kNorm = {.series = Series::grad_norm, .logarithm = true, .divergence = false};

// A loss of 4 at the start, then 2, with noise of 0.1; `extra` is added from step 300 on.
template <typename Extra>
std::vector<Event> events(const SpikeRule& rule, std::uint64_t steps, Extra extra) {
    SpikeState state;
    Random random(7);
    std::vector<Event> found;
    for (std::uint64_t step = 1; step <= steps; ++step) {
        const double value = (step <= 10 ? 4 : 2) + 0.1 * random.normal() + (step < 300 ? 0 : extra(step));
        for (const Event& event : observe(state, rule, {step, 100 * step, value})) found.push_back(event);
    }
    return found;
}

std::vector<std::string> kinds(const std::vector<Event>& events) {
    std::vector<std::string> words;
    for (const Event& event : events) words.emplace_back(word_of(event.kind));
    return words;
}

using Words = std::vector<std::string>;

TEST(Spike, AQuietCurveHasNoEvent) {
    EXPECT_EQ(kinds(events(kLoss, 2000, [](std::uint64_t) { return 0.0; })), Words{});
}

TEST(Spike, IsFoundAtItsFirstStepAndSaidToBeOverAtTheFirstStepBack) {
    const auto found = events(kLoss, 400, [](std::uint64_t step) { return step < 305 ? 1.5 : 0.0; });
    ASSERT_EQ(kinds(found), (Words{"spike", "spike_recovered"}));
    EXPECT_EQ(found[0].step, 300u);
    EXPECT_EQ(found[0].tokens, 30'000u);
    EXPECT_NEAR(found[0].size, 15, 4) << "1.5 over a noise of 0.1";
    EXPECT_EQ(found[1].step, 305u);
    EXPECT_EQ(found[1].since_step, 300u);
}

TEST(Spike, ThatDoesNotReturnLingersAndIsADivergenceAfterFiveHundredSteps) {
    const auto found = events(kLoss, 2000, [](std::uint64_t) { return 1.5; });
    ASSERT_EQ(kinds(found), (Words{"spike", "spike_lingering", "divergence"}));
    EXPECT_EQ(found[1].step, 500u);
    EXPECT_EQ(found[2].step, 799u);
    EXPECT_EQ(found[2].since_step, 300u);
}

TEST(Spike, OfANormThatStaysHighIsAnotherRegimeAndNoDivergence) {
    EXPECT_EQ(kinds(events(kNorm, 2000, [](std::uint64_t) { return 10; })), (Words{"spike", "spike_lingering"}));
}

TEST(Spike, AValueThatIsNotFiniteIsOneAtOnce) {
    for (const double wild : {std::nan(""), std::numeric_limits<double>::infinity()}) {
        const auto found = events(kLoss, 302, [&](std::uint64_t step) { return step == 300 ? wild : 0; });
        ASSERT_EQ(kinds(found), (Words{"spike", "spike_recovered"}));
        EXPECT_EQ(found[0].detail, "not finite");
    }
}

TEST(Spike, AGradientNormOfZeroIsNone) {
    SpikeState state;
    for (std::uint64_t step = 1; step <= 300; ++step) EXPECT_TRUE(observe(state, kNorm, {step, step, 0.0}).empty());
}

TEST(Spike, AConstantCurveToleratesRoundingAndSeesMore) {
    SpikeState state;
    for (std::uint64_t step = 1; step <= 200; ++step) EXPECT_TRUE(observe(state, kLoss, {step, step, 2.0}).empty());
    EXPECT_TRUE(observe(state, kLoss, {201, 201, 2.0000001}).empty());
    EXPECT_EQ(observe(state, kLoss, {202, 202, 2.1}).size(), 1u);
}

TEST(Spike, ALossAboveItsStartIsADivergenceAfterTwentySteps) {
    // Climbs by 0.01 a step, slowly enough for the window to follow: only the start tells.
    const auto found = events(kLoss, 900, [](std::uint64_t step) { return 0.01 * static_cast<double>(step - 300); });
    std::size_t divergences = 0;
    for (const Event& event : found) {
        if (event.kind != EventKind::divergence) continue;
        ++divergences;
        EXPECT_GT(event.step, 500u);
        EXPECT_LT(event.step, 560u);
    }
    EXPECT_EQ(divergences, 1u);
}

TEST(Spike, ALossThatNeverFellCannotDiverge) {
    SpikeState state;
    Random random(9);
    for (std::uint64_t step = 1; step <= 5000; ++step) {
        for (const Event& event : observe(state, kLoss, {step, step, 4 + 0.1 * random.normal()}))
            EXPECT_NE(event.kind, EventKind::divergence);
    }
}

}  // namespace
}  // namespace kiban::monitoring::detect
