// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/robust.h"

#include <gtest/gtest.h>

#include "monitoring/error.h"
#include "tests/monitoring/detect/simulate.h"

namespace kiban::monitoring::detect {
namespace {

TEST(Robust, TheMedianOfEvenAndOddNumbers) {
    EXPECT_EQ(median_of({3, 1, 2}), 2);
    EXPECT_EQ(median_of({4, 1, 3, 2}), 2.5);
    EXPECT_THROW(median_of({}), InternalError);
}

TEST(Robust, TheWindowAgreesWithSortingAtEveryFill) {
    RobustWindow<16> window;
    Random random(1);
    std::vector<double> all;
    for (int i = 0; i < 200; ++i) {
        all.push_back(i % 3 == 0 ? std::round(random.normal()) : random.normal());  // with ties
        window.add(all.back());
        const std::size_t n = std::min<std::size_t>(all.size(), 16);
        std::vector<double> last(all.end() - static_cast<std::ptrdiff_t>(n), all.end());
        const double middle = median_of(last);
        ASSERT_EQ(window.median(), middle) << i;
        for (double& value : last) value = std::abs(value - middle);
        ASSERT_EQ(window.mad(), median_of(last)) << i;
    }
}

TEST(Robust, NoiseAroundASteepCurveIsFound) {
    Random random(2);
    std::vector<double> values;
    for (int i = 0; i < 4000; ++i) values.push_back(0.5 * i + 3 * random.normal());
    EXPECT_NEAR(noise_of(values), 3, 0.2);
}

TEST(Robust, TheilSenFindsALineThroughAFewWildPoints) {
    std::vector<double> x;
    std::vector<double> y;
    for (int i = 0; i < 21; ++i) {
        x.push_back(i);
        y.push_back(i % 7 == 3 ? 1000 : 2.0 * i + 1);
    }
    EXPECT_DOUBLE_EQ(theil_sen(x, y).slope, 2);
}

// Sen 1968, equation (2.6) with n = 10: C = 1.96 sqrt(10 * 9 * 25 / 18) = 21.91, so the interval runs from rank
// (45 - 21.91) / 2 = 11.5 to rank 33.5 + 1 of the 45 slopes.
TEST(Robust, TheIntervalOfTheilSenHoldsTheTrueSlopeInNineteenOfTwentyCases) {
    int inside = 0;
    constexpr int kCases = 2000;
    Random random(3);
    for (int repeat = 0; repeat < kCases; ++repeat) {
        std::vector<double> x;
        std::vector<double> y;
        for (int i = 0; i < 30; ++i) {
            x.push_back(i);
            y.push_back(0.25 * i + random.normal());
        }
        const SlopeInterval found = theil_sen(x, y);
        inside += found.low <= 0.25 && 0.25 <= found.high ? 1 : 0;
    }
    EXPECT_NEAR(static_cast<double>(inside) / kCases, 0.95, 0.015);
}

TEST(Robust, HubersLineIsExactOnALineAndHardlyMovedByASpike) {
    std::vector<double> x;
    std::vector<double> y;
    Random random(4);
    for (int i = 0; i < 200; ++i) {
        x.push_back(i / 100.0);
        y.push_back(5 - 2 * x.back());
    }
    EXPECT_NEAR(huber_line(x, y).slope, -2, 1e-12);
    EXPECT_NEAR(huber_line(x, y).intercept, 5, 1e-12);
    for (double& value : y) value += 0.1 * random.normal();
    const double before = huber_line(x, y).at(2);
    for (std::size_t i = 190; i < 195; ++i) y[i] += 100;
    EXPECT_NEAR(huber_line(x, y).at(2), before, 0.2) << "least squares would move by 9";
}

}  // namespace
}  // namespace kiban::monitoring::detect
