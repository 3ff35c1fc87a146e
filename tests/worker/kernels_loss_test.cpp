// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/worker/random_floats.h"
#include "worker/kernels/cross_entropy.h"

namespace kiban::worker {
namespace {

TEST(CrossEntropy, AgreesWithItsDefinitionInDouble) {
    constexpr std::int64_t kVocabulary = 3001;  // two full blocks and an odd rest
    constexpr float kScale = 0.25F;
    std::vector<float> logits = random_floats(3 * kVocabulary, "logits", 4.0);
    const std::vector<float> before = logits;
    const std::vector<std::int64_t> targets = {0, 1234, 3000};
    std::vector<double> losses(3);
    std::vector<double> losses_alone(3);
    cross_entropy(kVocabulary, logits.data(), targets, losses_alone);
    EXPECT_EQ(logits, before) << "the loss alone must leave the logits";
    cross_entropy_with_gradient(kVocabulary, kScale, logits.data(), targets, losses);
    for (std::size_t row = 0; row < 3; ++row) {
        const auto at = [&](std::size_t i) { return static_cast<double>(before[row * kVocabulary + i]); };
        double sum = 0;
        for (std::size_t i = 0; i < kVocabulary; ++i) sum += std::exp(at(i));
        const auto target = static_cast<std::size_t>(targets[row]);
        EXPECT_NEAR(losses[row], std::log(sum) - at(target), 1e-6);
        EXPECT_EQ(losses[row], losses_alone[row]);
        for (std::size_t i = 0; i < kVocabulary; ++i)
            ASSERT_NEAR(logits[row * kVocabulary + i], 0.25 * (std::exp(at(i)) / sum - (i == target ? 1.0 : 0.0)),
                        1e-6);
    }
}

TEST(CrossEntropy, CountsTheTargetsThatHaveTheLargestLogit) {
    const std::vector<float> logits = {1, 3, 2, 5, 5, 4, 9, 0, 0, 0, 0, 7};
    std::vector<double> losses(4);
    EXPECT_EQ(cross_entropy(3, logits.data(), std::vector<std::int64_t>{1, 0, 2, 2}, losses), 3)
        << "one that is alone, one of two equal ones, none, and another one";
    EXPECT_EQ(cross_entropy(3, logits.data(), std::vector<std::int64_t>{-1, 1, -1, 0}, losses), 1) << "masked: none";
}

TEST(CrossEntropy, OfEqualLogitsIsTheLogarithmOfTheVocabulary) {
    const std::vector<float> logits(1000, -50.0F);
    std::vector<double> losses(1);
    cross_entropy(1000, logits.data(), std::vector<std::int64_t>{17}, losses);
    EXPECT_NEAR(losses[0], std::log(1000.0), 1e-6);
}

TEST(CrossEntropy, SurvivesLogitsFarApart) {
    std::vector<float> logits = {1e30F, -1e30F, 0.0F};
    std::vector<double> losses(1);
    cross_entropy_with_gradient(3, 1.0F, logits.data(), std::vector<std::int64_t>{0}, losses);
    EXPECT_EQ(losses[0], 0.0);
    for (const float gradient : logits) EXPECT_NEAR(gradient, 0.0F, 1e-30F);
}

TEST(CrossEntropy, GivesMaskedTargetsNoLossAndNoGradient) {
    std::vector<float> logits = random_floats(2 * 40, "logits");
    std::vector<double> losses(2, -1.0);
    cross_entropy_with_gradient(40, 1.0F, logits.data(), std::vector<std::int64_t>{-1, 3}, losses);
    EXPECT_EQ(losses[0], 0.0);
    EXPECT_GT(losses[1], 0.0);
    for (std::size_t i = 0; i < 40; ++i) EXPECT_EQ(logits[i], 0.0F);
}

TEST(CrossEntropy, AddsTheGradientOfTheZLossButNotItsValue) {
    constexpr std::int64_t kVocabulary = 1501;  // a full block and an odd rest
    constexpr double kZLoss = 0.03;
    std::vector<float> logits = random_floats(3 * kVocabulary, "logits", 4.0);
    const std::vector<float> before = logits;
    const std::vector<std::int64_t> targets = {7, -1, 1500};
    std::vector<double> losses(3);
    std::vector<double> plain(3);
    cross_entropy(kVocabulary, logits.data(), targets, plain);
    cross_entropy_with_gradient(kVocabulary, 0.25F, logits.data(), targets, losses, kZLoss);
    EXPECT_EQ(losses, plain);
    for (std::size_t row = 0; row < 3; ++row) {
        const auto at = [&](std::size_t i) { return static_cast<double>(before[row * kVocabulary + i]); };
        double sum = 0;
        for (std::size_t i = 0; i < kVocabulary; ++i) sum += std::exp(at(i));
        for (std::size_t i = 0; i < kVocabulary; ++i) {
            const double softmax = std::exp(at(i)) / sum;
            const double one_hot = static_cast<std::int64_t>(i) == targets[row] ? 1.0 : 0.0;
            // d/dx of lse - x[target] + c lse^2
            const double expected = softmax - one_hot + kZLoss * 2.0 * std::log(sum) * softmax;
            ASSERT_NEAR(logits[row * kVocabulary + i], targets[row] < 0 ? 0.0 : 0.25 * expected, 1e-6);
        }
    }
}

TEST(CrossEntropy, WithAZLossOfZeroIsTheSameToTheBit) {
    std::vector<float> plain = random_floats(2 * 333, "logits", 4.0);
    std::vector<float> zero = plain;
    std::vector<double> losses(2);
    const std::vector<std::int64_t> targets = {5, 332};
    cross_entropy_with_gradient(333, 0.3F, plain.data(), targets, losses);
    cross_entropy_with_gradient(333, 0.3F, zero.data(), targets, losses, 0.0);
    EXPECT_EQ(plain, zero);
}

TEST(CrossEntropy, DoesNotHideNonFiniteLogits) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        std::vector<float> logits(50, 0.5F);
        logits[20] = bad;
        std::vector<double> losses(1);
        cross_entropy(50, logits.data(), std::vector<std::int64_t>{3}, losses);
        EXPECT_FALSE(std::isfinite(losses[0])) << bad;
        cross_entropy_with_gradient(50, 1.0F, logits.data(), std::vector<std::int64_t>{3}, losses);
        EXPECT_FALSE(std::isfinite(losses[0])) << bad;
        EXPECT_TRUE(std::isnan(logits[0])) << bad;
    }
}

}  // namespace
}  // namespace kiban::worker
