// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "tests/worker/random_floats.h"
#include "worker/kernels/reduce.h"

namespace kiban::worker {
namespace {

std::vector<double> sums_of(const std::vector<float>& values, std::int64_t block) {
    const auto count = static_cast<std::int64_t>(values.size());
    std::vector<double> sums(static_cast<std::size_t>((count + block - 1) / block), -1.0);
    block_sums_of_squares(values.data(), count, block, sums.data());
    return sums;
}

// 1 + 4 + ... + n^2
double squares_up_to(double n) { return n * (n + 1) * (2 * n + 1) / 6; }

TEST(BlockSumsOfSquares, AreExactWhereDoubleIs) {
    std::vector<float> values(1003);
    std::iota(values.begin(), values.end(), 1.0F);
    for (const std::int64_t block : {1, 7, 16, 100, 1003, 5000}) {
        const std::vector<double> sums = sums_of(values, block);
        for (std::size_t i = 0; i < sums.size(); ++i) {
            const auto begin = static_cast<double>(static_cast<std::int64_t>(i) * block);
            const double end = std::min(begin + static_cast<double>(block), 1003.0);
            EXPECT_EQ(sums[i], squares_up_to(end) - squares_up_to(begin)) << "block " << i << " of " << block;
        }
    }
    EXPECT_TRUE(sums_of({}, 16).empty());
}

TEST(BlockSumsOfSquares, HaveTheSameBitsForAnyNumberOfThreads) {
    const std::vector<float> values = random_floats(100'003, "squares");
    std::vector<std::vector<double>> results;
    for (const int threads : {1, 2}) with_threads(threads, [&] { results.push_back(sums_of(values, 1000)); });
    EXPECT_EQ(results[0], results[1]);
}

TEST(BlockSumsOfSquares, HaveTheSameBitsWhereverTheirBlockStands) {
    constexpr std::int64_t kCount = 3 * 1009;
    const std::vector<float> values = random_floats(kCount, "squares");
    const std::vector<double> expected = sums_of(values, 1009);
    for (std::int64_t offset = 0; offset < 70; ++offset) {
        std::vector<float> moved(static_cast<std::size_t>(offset + kCount), 3.0F);
        std::copy(values.begin(), values.end(), moved.begin() + offset);
        std::vector<double> sums(3);
        block_sums_of_squares(moved.data() + offset, kCount, 1009, sums.data());
        EXPECT_EQ(sums, expected) << "offset " << offset;
    }
}

// A block cut off from its array has the sum it had inside: workers that hold different ranges agree on whole blocks.
TEST(BlockSumsOfSquares, OfARangeAreThoseOfTheWhole) {
    const std::vector<float> values = random_floats(10 * 777 + 5, "squares");
    const std::vector<double> whole = sums_of(values, 777);
    for (std::size_t i = 0; i < whole.size(); ++i) {
        const auto begin = values.begin() + static_cast<std::ptrdiff_t>(i * 777);
        const auto size = std::min<std::ptrdiff_t>(777, values.end() - begin);
        EXPECT_EQ(sums_of({begin, begin + size}, 777)[0], whole[i]) << "block " << i;
    }
}

TEST(BlockSumsOfSquares, DoNotHideANonFiniteValueNorLetItReachOtherBlocks) {
    std::vector<float> values(64, 1.0F);
    values[20] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<double> sums = sums_of(values, 16);
    EXPECT_TRUE(std::isnan(sums[1]));
    EXPECT_EQ(sums[0], 16.0);
    EXPECT_EQ(sums[2], 16.0);
}

TEST(TreeSum, AddsHalvesOfHalves) {
    EXPECT_EQ(tree_sum({}), 0.0);
    EXPECT_EQ(tree_sum(std::vector<double>{3.5}), 3.5);
    std::vector<double> values(1001);
    std::iota(values.begin(), values.end(), 1.0);
    EXPECT_EQ(tree_sum(values), 1001.0 * 1002.0 / 2.0);
}

// 1e16 + 1 is 1e16 in double, so the order shows.
TEST(TreeSum, SplitsAnOddNumberWithTheSmallerHalfFirst) {
    EXPECT_EQ(tree_sum(std::vector<double>{1, 1e16, -1e16}), 1.0);
    EXPECT_EQ(tree_sum(std::vector<double>{1e16, -1e16, 1, 1e16, -1e16}), 1.0);
}

}  // namespace
}  // namespace kiban::worker
