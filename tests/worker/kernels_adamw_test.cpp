// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/worker/random_floats.h"
#include "worker/kernels/adamw.h"

namespace kiban::worker {
namespace {

AdamWStep first_step() {
    return {.learning_rate = 0.01,
            .beta1 = 0.9,
            .beta2 = 0.999,
            .epsilon = 1e-8,
            .weight_decay = 0.1,
            .gradient_scale = 0.5,
            .bias_correction1 = 1.0 - 0.9,
            .bias_correction2 = 1.0 - 0.999};
}

// With fresh moments the corrected averages are g and g^2, so the step is lr * g / (|g| + eps), that is lr * sign(g).
TEST(AdamW, MovesEachValueByTheLearningRateInTheFirstStep) {
    const std::vector<float> gradient = {3.0F, -0.001F, 100.0F, -7.0F, 0.0F};
    std::vector<float> value = {1.0F, 2.0F, -3.0F, 0.0F, 5.0F};
    std::vector<float> exp_avg(5, 0.0F);
    std::vector<float> exp_avg_sq(5, 0.0F);
    adamw_update(first_step(), 5, gradient.data(), value.data(), exp_avg.data(), exp_avg_sq.data());
    const std::vector<double> expected = {1.0 * 0.999 - 0.01, 2.0 * 0.999 + 0.01, -3.0 * 0.999 - 0.01, 0.01,
                                          5.0 * 0.999};
    for (std::size_t i = 0; i < 5; ++i) EXPECT_NEAR(value[i], expected[i], 1e-6) << "element " << i;
    EXPECT_FLOAT_EQ(exp_avg[0], 0.15F);        // 0.1 * (0.5 * 3)
    EXPECT_FLOAT_EQ(exp_avg_sq[0], 0.00225F);  // 0.001 * 1.5^2
}

TEST(AdamW, GivesTheSameBitsForAnyNumberOfThreads) {
    constexpr std::int64_t kCount = 200'001;
    const std::vector<float> gradient = random_floats(kCount, "gradient");
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 2, 3}) {
        std::vector<float> value = random_floats(kCount, "value");
        std::vector<float> exp_avg(value.size(), 0.0F);
        std::vector<float> exp_avg_sq(value.size(), 0.0F);
        with_threads(threads, [&] {
            for (int step = 0; step < 3; ++step)
                adamw_update(first_step(), kCount, gradient.data(), value.data(), exp_avg.data(), exp_avg_sq.data());
        });
        results.push_back(value);
    }
    EXPECT_EQ(results[0], results[1]);
    EXPECT_EQ(results[0], results[2]);
}

struct Updated {
    std::vector<float> value, exp_avg, exp_avg_sq;
    bool operator==(const Updated&) const = default;
};

// Three steps of 10,007 elements, each made range by range between the cuts.
Updated updated_between(const std::vector<std::int64_t>& cuts, int threads) {
    constexpr std::int64_t kCount = 10'007;
    const std::vector<float> gradient = random_floats(kCount, "gradient");
    Updated state = {random_floats(kCount, "value"), std::vector<float>(kCount), std::vector<float>(kCount)};
    with_threads(threads, [&] {
        for (int step = 0; step < 3; ++step) {
            std::int64_t begin = 0;
            for (std::int64_t end : cuts) {
                end = std::min(end, kCount);
                adamw_update(first_step(), end - begin, gradient.data() + begin, state.value.data() + begin,
                             state.exp_avg.data() + begin, state.exp_avg_sq.data() + begin);
                begin = end;
            }
        }
    });
    return state;
}

// Which worker owns an element, and where its range begins, must not show in the weights.
TEST(AdamW, GivesAnElementTheSameBitsWhereverItsRangeBeginsAndEnds) {
    const Updated whole = updated_between({10'007}, 1);
    std::vector<std::int64_t> threes;
    for (std::int64_t end = 3; end < 10'010; end += 3) threes.push_back(end);
    const std::vector<std::vector<std::int64_t>> places = {
        {10'007}, {1, 10'007}, {5, 22, 2503, 5003, 9991, 10'007}, {17, 34, 51, 1000, 10'006, 10'007}, threes};
    for (std::size_t i = 0; i < places.size(); ++i) {
        for (const int threads : {1, 2})
            EXPECT_TRUE(updated_between(places[i], threads) == whole) << "cut " << i << ", " << threads << " threads";
    }
}

TEST(AdamW, DoesNotHideANonFiniteGradient) {
    const std::vector<float> gradient = {std::numeric_limits<float>::quiet_NaN()};
    std::vector<float> value = {1.0F};
    std::vector<float> exp_avg = {0.0F};
    std::vector<float> exp_avg_sq = {0.0F};
    adamw_update(first_step(), 1, gradient.data(), value.data(), exp_avg.data(), exp_avg_sq.data());
    EXPECT_TRUE(std::isnan(value[0]));
}

TEST(SumOfSquares, IsExactWhereDoubleIs) {
    constexpr std::int64_t kCount = 300'000;  // sum of k^2 for k below 1000, 300 times over
    std::vector<float> values;
    for (std::int64_t i = 0; i < kCount; ++i) values.push_back(static_cast<float>(i % 1000));
    EXPECT_EQ(sum_of_squares(values.data(), kCount), 300.0 * (999.0 * 1000.0 * 1999.0 / 6.0));
    EXPECT_EQ(sum_of_squares(values.data(), 0), 0.0);
}

TEST(SumOfSquares, GivesTheSameBitsForAnyNumberOfThreads) {
    const std::vector<float> values = random_floats(500'123, "squares");
    std::vector<double> sums;
    for (const int threads : {1, 2, 3})
        with_threads(threads, [&] { sums.push_back(sum_of_squares(values.data(), 500'123)); });
    EXPECT_EQ(sums[0], sums[1]);
    EXPECT_EQ(sums[0], sums[2]);
}

}  // namespace
}  // namespace kiban::worker
