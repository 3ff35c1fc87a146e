// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/segments.h"

#include <gtest/gtest.h>

#include "monitoring/error.h"
#include "tests/monitoring/detect/simulate.h"

namespace kiban::monitoring::detect {
namespace {

// Squares around mean or line, straight from the definition.
double squares(const std::vector<double>& x, const std::vector<double>& y, SegmentCost cost, std::size_t begin,
               std::size_t end) {
    double mean_x = 0;
    double mean_y = 0;
    const auto n = static_cast<double>(end - begin);
    for (std::size_t i = begin; i < end; ++i) {
        mean_x += x[i] / n;
        mean_y += y[i] / n;
    }
    double xx = 0;
    double xy = 0;
    for (std::size_t i = begin; i < end; ++i) {
        xx += (x[i] - mean_x) * (x[i] - mean_x);
        xy += (x[i] - mean_x) * (y[i] - mean_y);
    }
    const double slope = cost == SegmentCost::line ? xy / xx : 0;
    double sum = 0;
    for (std::size_t i = begin; i < end; ++i) {
        const double rest = y[i] - mean_y - slope * (x[i] - mean_x);
        sum += rest * rest;
    }
    return sum;
}

// Every segmentation by dynamic programming without pruning.
double best_cost(const std::vector<double>& x, const std::vector<double>& y, SegmentCost cost, double penalty) {
    std::vector<double> best(y.size() + 1, HUGE_VAL);
    best[0] = -penalty;
    for (std::size_t end = kShortestSegment; end <= y.size(); ++end) {
        for (std::size_t begin = 0; begin + kShortestSegment <= end; ++begin)
            best[end] = std::min(best[end], best[begin] + squares(x, y, cost, begin, end) + penalty);
    }
    return best.back();
}

double cost_of(const Segmentation& found, const std::vector<double>& x, const std::vector<double>& y, SegmentCost cost,
               double penalty) {
    double sum = 0;
    for (std::size_t i = 0; i < found.begins.size(); ++i) {
        const std::size_t end = i + 1 < found.begins.size() ? found.begins[i + 1] : y.size();
        EXPECT_GE(end - found.begins[i], kShortestSegment);
        sum += squares(x, y, cost, found.begins[i], end) + (i > 0 ? penalty : 0);
    }
    return sum;
}

TEST(Segments, AreTheOptimumOfBruteForceInTwoHundredRandomCases) {
    Random random(19);
    std::size_t changes = 0;
    for (int repeat = 0; repeat < 200; ++repeat) {
        const SegmentCost cost = repeat % 2 == 0 ? SegmentCost::level : SegmentCost::line;
        std::vector<double> x;
        std::vector<double> y;
        double level = 0;
        double slope = 0;
        const std::size_t n = 10 + random.below(51);
        for (std::size_t i = 0; i < n; ++i) {
            if (random.below(12) == 0) {
                level += 5 * random.normal();
                slope = random.normal();
            }
            level += cost == SegmentCost::line ? slope : 0;
            x.push_back(static_cast<double>(i) + random.uniform() / 2);
            y.push_back(1000 + level + random.normal());
        }
        const double penalty = repeat % 5 == 0 ? 0.5 : penalty_of(y, cost);
        const Segmentation found = segment(x, y, cost, penalty);
        const double best = best_cost(x, y, cost, penalty);
        EXPECT_NEAR(found.cost, best, 1e-6 * best + 1e-6) << repeat;
        EXPECT_NEAR(cost_of(found, x, y, cost, penalty), best, 1e-6 * best + 1e-6) << repeat;
        changes += found.begins.size() - 1;
    }
    EXPECT_GT(changes, 200u) << "the cases must have something to find";
}

TEST(Segments, AStepIsFoundAtItsPlace) {
    Random random(23);
    std::vector<double> y;
    for (int i = 0; i < 300; ++i) y.push_back((i < 120 ? 3 : 2) + 0.1 * random.normal());
    const auto found = segment({}, y, SegmentCost::level, penalty_of(y, SegmentCost::level));
    EXPECT_EQ(found.begins, (std::vector<std::size_t>{0, 120}));
}

TEST(Segments, NoiseAloneIsOneSegmentNineteenTimesInTwenty) {
    int whole = 0;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        Random random(seed);
        std::vector<double> y;
        for (int i = 0; i < 300; ++i) y.push_back(random.normal());
        whole += segment({}, y, SegmentCost::level, penalty_of(y, SegmentCost::level)).begins.size() == 1 ? 1 : 0;
    }
    EXPECT_GE(whole, 95);
}

TEST(Segments, FewPointsAndNoneAreOneSegmentAndNone) {
    const std::vector<double> few = {1, 9, 1};
    EXPECT_EQ(segment(few, few, SegmentCost::line, 0).begins, (std::vector<std::size_t>{0}));
    EXPECT_TRUE(segment({}, {}, SegmentCost::level, 1).begins.empty());
    EXPECT_TRUE(segments_of({}).empty());
    EXPECT_THROW(segment({}, few, SegmentCost::line, 1), InternalError);
}

TEST(Segments, OfACurveTellStepsLossAndNatsPerDoubling) {
    std::vector<CurveRow> rows;
    Random random(29);
    for (std::uint64_t step = 1; step <= 8192; ++step) {
        CurveRow row;
        row.step = step;
        row.tokens = 64 * step;
        const double x = std::log2(static_cast<double>(step));
        row.loss = (step < 1024 ? 12 - x : 2 - 0.1 * (x - 10)) + 0.002 * random.normal();
        rows.push_back(row);
    }
    rows[5000].loss = std::nan("");
    const auto found = segments_of(rows);
    ASSERT_EQ(found.size(), 2u);
    EXPECT_EQ(found[0].from_step, 1u);
    EXPECT_NEAR(found[0].nats_per_doubling, -1, 0.01);
    EXPECT_NEAR(static_cast<double>(found[0].to_step), 1023, 6);
    EXPECT_EQ(found[1].to_step, 8192u);
    EXPECT_NEAR(found[1].nats_per_doubling, -0.1, 0.01);
    EXPECT_NEAR(found[1].end_loss, 1.7, 0.01);
}

}  // namespace
}  // namespace kiban::monitoring::detect
