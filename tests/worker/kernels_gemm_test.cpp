// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "monitoring/error.h"
#include "tests/worker/random_floats.h"
#include "worker/kernels/gemm.h"

namespace kiban::worker {
namespace {

struct Product {
    std::int64_t m, n, k;
    Form a_form, b_form;
};

class Gemm : public testing::TestWithParam<Product> {};

TEST_P(Gemm, AgreesWithSumsInDoubleOnStridedOperands) {
    const auto [m, n, k, a_form, b_form] = GetParam();
    const std::int64_t a_stride = (a_form == Form::plain ? k : m) + 3;
    const std::int64_t b_stride = (b_form == Form::plain ? n : k) + 5;
    const std::int64_t c_stride = n + 2;
    const std::vector<float> a = random_floats((m + k) * a_stride, "a");
    const std::vector<float> b = random_floats((n + k) * b_stride, "b");
    const std::vector<float> before = random_floats(m * c_stride, "c");
    std::vector<float> c = before;
    gemm(m, n, k, 0.5F, {a.data(), a_stride, a_form}, {b.data(), b_stride, b_form}, 2.0F, c.data(), c_stride);
    for (std::int64_t row = 0; row < m; ++row) {
        for (std::int64_t column = 0; column < n; ++column) {
            double sum = 0;
            for (std::int64_t i = 0; i < k; ++i) {
                const std::int64_t a_at = a_form == Form::plain ? row * a_stride + i : i * a_stride + row;
                const std::int64_t b_at = b_form == Form::plain ? i * b_stride + column : column * b_stride + i;
                sum += static_cast<double>(a[static_cast<std::size_t>(a_at)]) *
                       static_cast<double>(b[static_cast<std::size_t>(b_at)]);
            }
            const auto at = static_cast<std::size_t>(row * c_stride + column);
            ASSERT_NEAR(c[at], 0.5 * sum + 2.0 * static_cast<double>(before[at]), 1e-6 * static_cast<double>(k) + 1e-6)
                << row << ", " << column;
        }
        for (std::int64_t gap = n; gap < c_stride; ++gap) {
            const auto at = static_cast<std::size_t>(row * c_stride + gap);
            ASSERT_EQ(c[at], before[at]) << "a float between the rows of the result changed";
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Gemm,
                         testing::Values(Product{1, 1, 1, Form::plain, Form::plain},
                                         Product{7, 5, 3, Form::plain, Form::transposed},
                                         Product{64, 33, 150, Form::transposed, Form::plain},
                                         Product{129, 65, 31, Form::transposed, Form::transposed},
                                         Product{300, 200, 100, Form::plain, Form::plain}));

TEST(Gemm, DoesNotReadTheResultWhenBetaIsZero) {
    const std::vector<float> a = {2.0F, 3.0F};
    const std::vector<float> b = {5.0F, 7.0F};
    std::vector<float> c = {std::numeric_limits<float>::quiet_NaN()};
    gemm(1, 1, 2, 1.0F, {a.data(), 2}, {b.data(), 1}, 0.0F, c.data(), 1);
    EXPECT_EQ(c[0], 31.0F);
}

TEST(Gemm, GivesTheSameBitsWithinAParallelRegionAsOnOneThread) {
    const std::vector<float> a = random_floats(64 * 64, "a");
    const std::vector<float> b = random_floats(64 * 64, "b");
    std::vector<std::vector<float>> results(3, std::vector<float>(64 * 64));
    with_threads(1, [&] {
        gemm(64, 64, 64, 1.0F, {a.data(), 64}, transposed(b.data(), 64), 0.0F, results[0].data(), 64);
    });
    with_threads(2, [&] {
#pragma omp parallel for schedule(static)
        for (std::size_t i = 1; i < 3; ++i)
            gemm(64, 64, 64, 1.0F, {a.data(), 64}, transposed(b.data(), 64), 0.0F, results[i].data(), 64);
    });
    EXPECT_EQ(results[0], results[1]);
    EXPECT_EQ(results[0], results[2]);
}

TEST(Gemm, SaysWhichLibraryComputes) { EXPECT_FALSE(std::string(gemm_library()).empty()); }

}  // namespace
}  // namespace kiban::worker
