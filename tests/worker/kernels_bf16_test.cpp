// SPDX-License-Identifier: Apache-2.0
// bf16: rounding against its definition, products against sums in double of the rounded operands, and the kernels that
// compute on bf16 against those on floats.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "tests/worker/random_floats.h"
#include "worker/kernels/activation.h"
#include "worker/kernels/attention.h"
#include "worker/kernels/bf16.h"
#include "worker/kernels/gemm_bf16.h"
#include "worker/kernels/reduce.h"
#include "worker/kernels/rotary.h"

namespace kiban::worker {
namespace {

constexpr double kUnit = 0x1p-8;       // unit roundoff of bf16
constexpr double kUnitFp32 = 0x1p-24;  // of fp32

std::vector<Bf16> rounded_of(const std::vector<float>& x) {
    std::vector<Bf16> y(x.size());
    round_all(static_cast<std::int64_t>(x.size()), x.data(), y.data());
    return y;
}

std::vector<float> widened_of(const std::vector<Bf16>& x) {
    std::vector<float> y(x.size());
    widen_all(static_cast<std::int64_t>(x.size()), x.data(), y.data());
    return y;
}

std::vector<Bf16> random_bf16(std::int64_t count, const std::string& name, double deviation = 1.0) {
    return rounded_of(random_floats(count, name, deviation));
}

// --- Rounding ---

TEST(Bf16, EveryValueComesBackFromAFloat) {
    for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
        const Bf16 value{static_cast<std::uint16_t>(bits)};
        const float wide = widened(value);
        if (std::isnan(wide)) {
            ASSERT_TRUE(std::isnan(widened(rounded(wide)))) << bits;
        } else {
            ASSERT_EQ(rounded(wide).bits, bits);
        }
    }
}

TEST(Bf16, RoundsToTheNearestAndTiesToEven) {
    EXPECT_EQ(widened(rounded(1.0F + 0x1p-8F)), 1.0F);               // half-way, the even one is below
    EXPECT_EQ(widened(rounded(1.0F + 0x3p-8F)), 1.0F + 0x2p-7F);     // half-way, the even one is above
    EXPECT_EQ(widened(rounded(1.0F + 0x1.01p-8F)), 1.0F + 0x1p-7F);  // past half-way
    EXPECT_EQ(widened(rounded(-1.0F - 0x1p-8F)), -1.0F);
    EXPECT_EQ(widened(rounded(std::numeric_limits<float>::max())), INFINITY);
    EXPECT_EQ(widened(rounded(-INFINITY)), -INFINITY);
    EXPECT_TRUE(std::isnan(widened(rounded(std::bit_cast<float>(0x7fffffffU)))));
    EXPECT_TRUE(std::isnan(widened(rounded(std::bit_cast<float>(0x7f800001U)))));
    const std::vector<float> x = random_floats(10007, "x", 100.0);
    const std::vector<float> y = widened_of(rounded_of(x));
    for (std::size_t i = 0; i < x.size(); ++i) {
        ASSERT_LE(std::abs(static_cast<double>(x[i]) - y[i]), kUnit * std::abs(x[i])) << x[i];
        ASSERT_EQ(rounded(x[i]), rounded(y[i]));
    }
}

TEST(Bf16, RowsAreRoundedInTheirOwnMemory) {
    for (const std::int64_t columns : {1, 255, 256, 257, 1000}) {
        const std::int64_t rows = 5;
        std::vector<float> x = random_floats(rows * columns, "x");
        const std::vector<Bf16> expected = rounded_of(x);
        const Bf16* found = round_rows_in_place(rows, columns, x.data());
        for (std::int64_t row = 0; row < rows; ++row) {
            for (std::int64_t column = 0; column < columns; ++column)
                ASSERT_EQ(found[row * 2 * columns + column], expected[static_cast<std::size_t>(row * columns + column)])
                    << row << ", " << column << " of " << columns;
        }
    }
}

// --- Products ---

struct Product {
    std::int64_t m, n, k;
    Form a_form, b_form;
};

class Bf16Products : public testing::TestWithParam<Product> {
  protected:
    Bf16Products() {
        const auto [m, n, k, a_form, b_form] = GetParam();
        a_stride = (a_form == Form::plain ? k : m) + 3;
        b_stride = (b_form == Form::plain ? n : k) + 5;
        a = random_bf16((m + k) * a_stride, "a");
        b = random_bf16((n + k) * b_stride, "b");
    }

    Bf16View view_a() const { return {a.data(), a_stride, GetParam().a_form}; }
    Bf16View view_b() const { return {b.data(), b_stride, GetParam().b_form}; }

    struct Sum {
        double value = 0;
        double magnitude = 0;
    };
    Sum expected(std::int64_t row, std::int64_t column) const {
        const auto [m, n, k, a_form, b_form] = GetParam();
        Sum sum;
        for (std::int64_t i = 0; i < k; ++i) {
            const std::int64_t a_at = a_form == Form::plain ? row * a_stride + i : i * a_stride + row;
            const std::int64_t b_at = b_form == Form::plain ? i * b_stride + column : column * b_stride + i;
            const double term = static_cast<double>(widened(a[static_cast<std::size_t>(a_at)])) *
                                static_cast<double>(widened(b[static_cast<std::size_t>(b_at)]));
            sum.value += term;
            sum.magnitude += std::abs(term);
        }
        return sum;
    }

    std::int64_t a_stride = 0, b_stride = 0;
    std::vector<Bf16> a, b;
};

// Each term is exact in fp32; k additions (with what stood there) round by 2^-24 of a partial sum each, in any order.
double bound_of_sums(std::int64_t k, double magnitude) {
    const double additions = static_cast<double>(k) * kUnitFp32;
    return additions / (1 - additions) * magnitude;
}

TEST_P(Bf16Products, AreThoseOfTheRoundedOperandsSummedInFp32) {
    const auto [m, n, k, a_form, b_form] = GetParam();
    const std::int64_t c_stride = n + 2;
    const std::vector<float> before = random_floats(m * c_stride, "c");
    for (const bool add : {false, true}) {
        std::vector<float> c = before;
        if (!add)
            for (std::int64_t row = 0; row < m; ++row) c[static_cast<std::size_t>(row * c_stride)] = NAN;  // not read
        gemm_bf16(m, n, k, view_a(), view_b(), add, c.data(), c_stride);
        for (std::int64_t row = 0; row < m; ++row) {
            for (std::int64_t column = 0; column < n; ++column) {
                const Sum sum = expected(row, column);
                const auto at = static_cast<std::size_t>(row * c_stride + column);
                const double stood = add ? static_cast<double>(before[at]) : 0.0;
                ASSERT_NEAR(c[at], sum.value + stood, bound_of_sums(k, sum.magnitude + std::abs(stood)))
                    << row << ", " << column;
            }
            for (std::int64_t gap = n; gap < c_stride; ++gap) {
                const auto at = static_cast<std::size_t>(row * c_stride + gap);
                ASSERT_EQ(c[at], before[at]) << "a float between the rows of the result changed";
            }
        }
    }
}

TEST_P(Bf16Products, OfBf16AreRoundedOnceWithTheirBias) {
    const auto [m, n, k, a_form, b_form] = GetParam();
    const std::vector<float> bias = random_floats(n, "bias");
    for (const bool biased : {false, true}) {
        std::vector<Bf16> c(static_cast<std::size_t>(m * n));
        gemm_bf16(m, n, k, view_a(), view_b(), biased ? bias.data() : nullptr, c.data(), n);
        for (std::int64_t row = 0; row < m; ++row) {
            for (std::int64_t column = 0; column < n; ++column) {
                const Sum sum = expected(row, column);
                const double added = biased ? static_cast<double>(bias[static_cast<std::size_t>(column)]) : 0.0;
                const double in_fp32 = bound_of_sums(k + 1, sum.magnitude + std::abs(added));
                ASSERT_NEAR(widened(c[static_cast<std::size_t>(row * n + column)]), sum.value + added,
                            in_fp32 + kUnit * (std::abs(sum.value + added) + in_fp32))
                    << row << ", " << column;
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Bf16Products,
                         testing::Values(Product{1, 1, 1, Form::plain, Form::plain},
                                         Product{7, 5, 3, Form::plain, Form::transposed},
                                         Product{64, 33, 150, Form::transposed, Form::plain},
                                         Product{129, 65, 31, Form::transposed, Form::transposed},
                                         Product{192, 96, 1024, Form::plain, Form::transposed},
                                         Product{300, 200, 100, Form::plain, Form::plain}));

TEST(Bf16Product, HasTheSameBitsEachTimeOnAnyAlignment) {
    constexpr std::int64_t kSize = 128;
    const std::vector<Bf16> a = random_bf16(kSize * kSize + 1, "a");
    const std::vector<Bf16> b = random_bf16(kSize * kSize + 1, "b");
    std::vector<Bf16> moved_a(a.size() + 1);
    std::copy(a.begin(), a.end(), moved_a.begin() + 1);
    std::vector<std::vector<float>> results(3, std::vector<float>(kSize * kSize));
    const auto multiply = [&](const Bf16* first, std::vector<float>& c) {
        gemm_bf16(kSize, kSize, kSize, {first, kSize}, transposed(b.data(), kSize), false, c.data(), kSize);
    };
    multiply(a.data(), results[0]);
    multiply(a.data(), results[1]);
    multiply(moved_a.data() + 1, results[2]);
    EXPECT_EQ(results[0], results[1]);
    EXPECT_EQ(results[0], results[2]);
}

TEST(Bf16Product, SaysHowItIsComputedAndIsWidenedWhereTheCpuMayNotMultiplyBf16) {
    const char* limit = std::getenv("DNNL_MAX_CPU_ISA");  // a test of its own sets it
    if (limit != nullptr) {
        EXPECT_EQ(bf16_products(), "bf16 operands multiplied in fp32") << limit;
    } else {
        EXPECT_EQ(bf16_products().rfind("bf16 ", 0), 0U) << bf16_products();
    }
}

// --- Kernels on bf16: those on the widened values, rounded ---

void expect_rounded(const std::vector<Bf16>& found, const std::vector<float>& expected, const char* what) {
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) ASSERT_EQ(found[i], rounded(expected[i])) << what << " " << i;
}

TEST(Bf16Kernels, ActivationsAreThoseOfTheWidenedValues) {
    constexpr std::int64_t kRows = 3;
    constexpr std::int64_t kHidden = 4099;  // more than a block
    const std::vector<Bf16> x = random_bf16(kRows * 2 * kHidden, "x", 2.0);
    const std::vector<float> wide_x = widened_of(x);
    const std::vector<Bf16> dy = random_bf16(kRows * 2 * kHidden, "dy");
    const std::vector<float> wide_dy = widened_of(dy);
    std::vector<Bf16> y(x.size());
    std::vector<float> wide_y(x.size());
    gelu_forward(kRows * 2 * kHidden, x.data(), y.data());
    gelu_forward(kRows * 2 * kHidden, wide_x.data(), wide_y.data());
    expect_rounded(y, wide_y, "gelu");
    gelu_backward(kRows * 2 * kHidden, x.data(), dy.data(), y.data());
    gelu_backward(kRows * 2 * kHidden, wide_x.data(), wide_dy.data(), wide_y.data());
    expect_rounded(y, wide_y, "gelu's gradient");
    swiglu_backward(kRows, kHidden, x.data(), dy.data(), y.data());
    swiglu_backward(kRows, kHidden, wide_x.data(), wide_dy.data(), wide_y.data());
    expect_rounded(y, wide_y, "swiglu's gradient");
    y.resize(kRows * kHidden);
    wide_y.resize(y.size());
    swiglu_forward(kRows, kHidden, x.data(), y.data());
    swiglu_forward(kRows, kHidden, wide_x.data(), wide_y.data());
    expect_rounded(y, wide_y, "swiglu");
}

TEST(Bf16Kernels, RotaryTurnsTheWidenedHeadsAlone) {
    constexpr std::int64_t kRows = 14;
    constexpr std::int64_t kStride = 5 * 8;
    const RotaryTable table = rotary_table(7, 8, 1e4);
    for (const Turn turn : {Turn::forward, Turn::backward}) {
        std::vector<Bf16> x = random_bf16(kRows * kStride, "x");
        std::vector<float> wide = widened_of(x);
        rotate(table, turn, kRows, 7, 3, kStride, x.data());
        rotate(table, turn, kRows, 7, 3, kStride, wide.data());
        expect_rounded(x, wide, "rotary");
    }
}

TEST(Bf16Kernels, ColumnSumsAreThoseOfTheWidenedValues) {
    constexpr std::int64_t kRows = 131;
    constexpr std::int64_t kColumns = 77;
    const std::vector<Bf16> x = random_bf16(kRows * kColumns, "x");
    std::vector<float> found = random_floats(kColumns, "sums");
    std::vector<float> expected = found;
    column_sums(kRows, kColumns, x.data(), {found.data(), 1.0F});
    column_sums(kRows, kColumns, widened_of(x).data(), {expected.data(), 1.0F});
    EXPECT_EQ(found, expected);
}

// The heads are packed one by one, so the sums of their products may take another order: the error of fp32, which can
// move a rounding to the next bf16.
void expect_attention_of_widened_values(const AttentionShape& shape) {
    const std::int64_t rows = shape.batch * shape.tokens;
    const std::vector<Bf16> qkv = random_bf16(rows * shape.packed_width(), "qkv");
    const std::vector<Bf16> dout = random_bf16(rows * shape.out_width(), "dout");
    std::vector<Bf16> out(dout.size());
    std::vector<float> logsumexp(static_cast<std::size_t>(shape.batch * shape.heads * shape.tokens));
    std::vector<Bf16> dqkv(qkv.size());
    attention_forward(shape, qkv.data(), out.data(), logsumexp.data());
    attention_backward(shape, qkv.data(), out.data(), logsumexp.data(), dout.data(), dqkv.data());

    const std::vector<float> wide_qkv = widened_of(qkv);
    std::vector<float> wide_out(dout.size());
    std::vector<float> wide_logsumexp(logsumexp.size());
    std::vector<float> wide_dqkv(qkv.size());
    attention_forward(shape, wide_qkv.data(), wide_out.data(), wide_logsumexp.data());
    for (std::size_t i = 0; i < out.size(); ++i)
        ASSERT_NEAR(widened(out[i]), wide_out[i], kUnit * std::abs(wide_out[i]) + 1e-5) << i;
    for (std::size_t i = 0; i < logsumexp.size(); ++i) ASSERT_NEAR(logsumexp[i], wide_logsumexp[i], 1e-5) << i;
    // The same rounded output on both sides: what it says about the gradient is no error of the backward pass.
    attention_backward(shape, wide_qkv.data(), widened_of(out).data(), wide_logsumexp.data(), widened_of(dout).data(),
                       wide_dqkv.data());
    for (std::size_t i = 0; i < dqkv.size(); ++i)
        ASSERT_NEAR(widened(dqkv[i]), wide_dqkv[i], kUnit * std::abs(wide_dqkv[i]) + 1e-4) << i;
}

TEST(Bf16Kernels, AttentionIsThatOfTheWidenedValuesWithinOneRounding) {
    AttentionShape shape = {.batch = 2, .tokens = 70, .heads = 6, .kv_heads = 2, .head_size = 16};
    expect_attention_of_widened_values(shape);
    std::vector<std::int32_t> positions;  // documents of 31 tokens, cut where a row ends
    for (std::int32_t i = 0; i < 140; ++i) positions.push_back(i % 70 % 31);
    shape.positions = positions.data();
    expect_attention_of_widened_values(shape);
}

}  // namespace
}  // namespace kiban::worker
