// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/worker/random_floats.h"
#include "worker/kernels/activation.h"
#include "worker/kernels/embedding.h"
#include "worker/kernels/linear.h"
#include "worker/kernels/norm.h"
#include "worker/kernels/reduce.h"
#include "worker/kernels/simd.h"

namespace kiban::worker {
namespace {

double gelu_in_double(double x) {
    return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
}

TEST(SimdExp, IsWithinTwoUnitsInTheLastPlace) {
    double worst = 0;
    for (double x = -87.0; x < 88.0; x += 0.00037) {
        const auto argument = static_cast<float>(x);
        const double expected = std::exp(static_cast<double>(argument));
        const double unit = std::ldexp(1.0, std::ilogb(expected) - 23);
        worst = std::max(worst, std::abs(static_cast<double>(simd_exp(argument)) - expected) / unit);
    }
    EXPECT_LE(worst, 2.0);
    EXPECT_EQ(simd_exp(0.0F), 1.0F);
    EXPECT_EQ(simd_exp(100.0F), std::numeric_limits<float>::infinity());
    EXPECT_LT(simd_exp(-1000.0F), 2e-38F);
    EXPECT_TRUE(std::isnan(simd_exp(std::numeric_limits<float>::quiet_NaN())));
}

TEST(Gelu, AgreesWithItsTanhFormAndItsSlope) {
    constexpr std::int64_t kCount = 24001;  // -12 to 12
    std::vector<float> x(kCount);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) * 0.001F - 12.0F;
    std::vector<float> y(kCount);
    std::vector<float> dx(kCount);
    const std::vector<float> dy(kCount, 2.0F);
    gelu_forward(kCount, x.data(), y.data());
    gelu_backward(kCount, x.data(), dy.data(), dx.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
        const auto v = static_cast<double>(x[i]);
        ASSERT_NEAR(y[i], gelu_in_double(v), 3e-7 * std::abs(v) + 1e-9) << v;
        const double slope = (gelu_in_double(v + 1e-5) - gelu_in_double(v - 1e-5)) / 2e-5;
        ASSERT_NEAR(dx[i], 2.0 * slope, 1e-6) << v;
    }
}

TEST(SwiGlu, AgreesWithItsDefinitionAndSlopes) {
    constexpr std::int64_t kRows = 3;
    constexpr std::int64_t kHidden = 37;
    const std::vector<float> gate_up = random_floats(kRows * 2 * kHidden, "gate_up", 2.0);
    const std::vector<float> dy = random_floats(kRows * kHidden, "dy");
    std::vector<float> y(dy.size());
    std::vector<float> dgate_up(gate_up.size());
    swiglu_forward(kRows, kHidden, gate_up.data(), y.data());
    swiglu_backward(kRows, kHidden, gate_up.data(), dy.data(), dgate_up.data());
    const auto silu = [](double g) { return g / (1.0 + std::exp(-g)); };
    for (std::size_t row = 0; row < kRows; ++row) {
        for (std::size_t i = 0; i < kHidden; ++i) {
            const auto gate = static_cast<double>(gate_up[row * 2 * kHidden + i]);
            const auto up = static_cast<double>(gate_up[row * 2 * kHidden + kHidden + i]);
            const auto d = static_cast<double>(dy[row * kHidden + i]);
            ASSERT_NEAR(y[row * kHidden + i], silu(gate) * up, 2e-6);
            ASSERT_NEAR(dgate_up[row * 2 * kHidden + i], d * up * (silu(gate + 1e-5) - silu(gate - 1e-5)) / 2e-5, 1e-5);
            ASSERT_NEAR(dgate_up[row * 2 * kHidden + kHidden + i], d * silu(gate), 2e-6);
        }
    }
}

TEST(ColumnSums, AddRowsToWhatStoodThereOrReplaceIt) {
    constexpr std::int64_t kRows = 200;
    constexpr std::int64_t kColumns = 131;
    std::vector<float> matrix;
    for (std::int64_t i = 0; i < kRows * kColumns; ++i) matrix.push_back(static_cast<float>(i % kColumns + 1));
    std::vector<float> sums(kColumns, 5.0F);
    column_sums(kRows, kColumns, matrix.data(), {sums.data(), 1.0F});
    for (std::size_t i = 0; i < kColumns; ++i) EXPECT_EQ(sums[i], 5.0F + 200.0F * static_cast<float>(i + 1));
    std::fill(sums.begin(), sums.end(), NAN);
    column_sums(kRows, kColumns, matrix.data(), {sums.data(), 0.0F});
    for (std::size_t i = 0; i < kColumns; ++i) EXPECT_EQ(sums[i], 200.0F * static_cast<float>(i + 1));
}

TEST(Embedding, AddsEachTokensRowsInTheOrderOfTheBatch) {
    const std::vector<std::int64_t> tokens = {4, 1, 4, 0, 1, 4};
    const std::vector<float> table = {0, 0, 10, 11, 20, 21, 30, 31, 40, 41};
    const std::vector<float> positions = {0.5F, 0.25F, 100, 200, 1000, 2000};
    std::vector<float> x(12);
    embedding_forward(tokens, 0, 3, 2, table.data(), positions.data(), x.data());
    EXPECT_EQ(x, (std::vector<float>{40.5F, 41.25F, 110, 211, 1040, 2041, 0.5F, 0.25F, 110, 211, 1040, 2041}));

    const std::vector<float> dx = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    std::vector<float> gradient(10, NAN);
    embedding_backward(tokens, 5, 2, dx.data(), {gradient.data(), 0.0F});
    EXPECT_EQ(gradient, (std::vector<float>{7, 8, 12, 14, 0, 0, 0, 0, 17, 20}));
    embedding_backward(tokens, 5, 2, dx.data(), {gradient.data(), 1.0F});
    EXPECT_EQ(gradient, (std::vector<float>{14, 16, 24, 28, 0, 0, 0, 0, 34, 40}));

    std::vector<float> position_gradient(8, NAN);  // a table of four positions, rows of three
    positions_backward(0, 6, 3, 4, 2, dx.data(), {position_gradient.data(), 0.0F});
    EXPECT_EQ(position_gradient, (std::vector<float>{8, 10, 12, 14, 16, 18, 0, 0}));
}

TEST(Norm, GivesRowsMeanZeroAndVarianceOneBeforeGainAndBias) {
    constexpr std::int64_t kWidth = 101;
    const std::vector<float> x = random_floats(5 * kWidth, "x", 3.0);
    const std::vector<float> weight(kWidth, 2.0F);
    const std::vector<float> bias(kWidth, 7.0F);
    std::vector<float> y(x.size());
    std::vector<float> statistics(10);
    norm_forward({.rows = 5, .width = kWidth, .centred = true, .epsilon = 0.0F}, x.data(), weight.data(), bias.data(),
                 y.data(), statistics.data());
    for (std::size_t row = 0; row < 5; ++row) {
        double sum = 0;
        double squares = 0;
        for (std::size_t i = 0; i < kWidth; ++i) {
            const double normal = (static_cast<double>(y[row * kWidth + i]) - 7.0) / 2.0;
            sum += normal;
            squares += normal * normal;
        }
        EXPECT_NEAR(sum / kWidth, 0.0, 1e-6);
        EXPECT_NEAR(squares / kWidth, 1.0, 1e-5);
    }
}

TEST(Norm, GivesTheSameBitsForAnyNumberOfThreads) {
    const NormShape shape = {.rows = 137, .width = 48, .centred = true, .epsilon = 1e-5F};
    const std::vector<float> x = random_floats(137 * 48, "x");
    const std::vector<float> dy = random_floats(137 * 48, "dy");
    const std::vector<float> weight = random_floats(48, "weight");
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 2, 3}) {
        std::vector<float> y(x.size());
        std::vector<float> statistics(2 * 137);
        std::vector<float> result(x.size() + 96, NAN);
        with_threads(threads, [&] {
            norm_forward(shape, x.data(), weight.data(), weight.data(), y.data(), statistics.data());
            norm_backward(shape, x.data(), weight.data(), statistics.data(), dy.data(), dy.data(), result.data(),
                          {result.data() + x.size(), 0.0F}, {result.data() + x.size() + 48, 0.0F});
        });
        results.push_back(result);
    }
    EXPECT_EQ(results[0], results[1]);
    EXPECT_EQ(results[0], results[2]);
    EXPECT_FALSE(std::isnan(results[0].back()));
}

TEST(Linear, AddsBiasAndResidual) {
    const std::vector<float> x = {1, 2, 3, 4};
    const std::vector<float> weight = {1, 0, 0, 1, 1, 1};  // [3, 2]
    const std::vector<float> bias = {10, 20, 30};
    const std::vector<float> residual = {100, 200, 300, 400, 500, 600};
    std::vector<float> y(6, NAN);
    const LinearShape shape = {.rows = 2, .in = 2, .out = 3};
    linear_forward(shape, x.data(), weight.data(), nullptr, nullptr, y.data());
    EXPECT_EQ(y, (std::vector<float>{1, 2, 3, 3, 4, 7}));
    linear_forward(shape, x.data(), weight.data(), bias.data(), nullptr, y.data());
    EXPECT_EQ(y, (std::vector<float>{11, 22, 33, 13, 24, 37}));
    linear_forward(shape, x.data(), weight.data(), nullptr, residual.data(), y.data());
    EXPECT_EQ(y, (std::vector<float>{101, 202, 303, 403, 504, 607}));
    linear_forward(shape, x.data(), weight.data(), bias.data(), residual.data(), y.data());
    EXPECT_EQ(y, (std::vector<float>{111, 222, 333, 413, 524, 637}));
}

}  // namespace
}  // namespace kiban::worker
