// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/worker/random_floats.h"
#include "worker/kernels/muon.h"

namespace kiban::worker {
namespace {

// A row-major matrix in double, for the referee.
struct Matrix {
    std::int64_t rows = 0, cols = 0;
    std::vector<double> values;

    Matrix(std::int64_t r, std::int64_t c) : rows(r), cols(c), values(static_cast<std::size_t>(r * c)) {}
    Matrix(std::int64_t r, std::int64_t c, const std::vector<float>& v)
        : rows(r), cols(c), values(v.begin(), v.end()) {}

    double& at(std::int64_t row, std::int64_t col) { return values[static_cast<std::size_t>(row * cols + col)]; }
    double at(std::int64_t row, std::int64_t col) const { return values[static_cast<std::size_t>(row * cols + col)]; }
};

Matrix transposed_of(const Matrix& x) {
    Matrix result(x.cols, x.rows);
    for (std::int64_t i = 0; i < x.rows; ++i)
        for (std::int64_t j = 0; j < x.cols; ++j) result.at(j, i) = x.at(i, j);
    return result;
}

Matrix product(const Matrix& a, const Matrix& b) {
    Matrix result(a.rows, b.cols);
    for (std::int64_t i = 0; i < a.rows; ++i)
        for (std::int64_t k = 0; k < a.cols; ++k)
            for (std::int64_t j = 0; j < b.cols; ++j) result.at(i, j) += a.at(i, k) * b.at(k, j);
    return result;
}

double norm_of(const Matrix& x) {
    double sum = 0;
    for (const double value : x.values) sum += value * value;
    return std::sqrt(sum);
}

// The iteration as Jordan et al. 2024 print it: the wide form, B = bA + cA^2, X = aX + BX.
Matrix referee(Matrix x) {
    const bool tall = x.rows > x.cols;
    if (tall) x = transposed_of(x);
    const double norm = norm_of(x);
    for (double& value : x.values) value /= norm + 1e-7;
    for (int step = 0; step < 5; ++step) {
        const Matrix a = product(x, transposed_of(x));
        Matrix b = product(a, a);
        for (std::size_t i = 0; i < b.values.size(); ++i) b.values[i] = -4.7750 * a.values[i] + 2.0315 * b.values[i];
        const Matrix bx = product(b, x);
        for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] = 3.4445 * x.values[i] + bx.values[i];
    }
    return tall ? transposed_of(x) : x;
}

// Turns rows i and j so that they are orthogonal; how far they were from it, as a cosine.
double turn_rows(Matrix& x, std::int64_t i, std::int64_t j) {
    double ii = 0;
    double jj = 0;
    double ij = 0;
    for (std::int64_t k = 0; k < x.cols; ++k) {
        ii += x.at(i, k) * x.at(i, k);
        jj += x.at(j, k) * x.at(j, k);
        ij += x.at(i, k) * x.at(j, k);
    }
    if (ij == 0) return 0;
    const double zeta = (jj - ii) / (2 * ij);
    const double tangent = (zeta >= 0 ? 1.0 : -1.0) / (std::abs(zeta) + std::sqrt(1 + zeta * zeta));
    const double cosine = 1 / std::sqrt(1 + tangent * tangent);
    for (std::int64_t k = 0; k < x.cols; ++k) {
        const double old = x.at(i, k);
        x.at(i, k) = cosine * (old - tangent * x.at(j, k));
        x.at(j, k) = cosine * (tangent * old + x.at(j, k));
    }
    return std::abs(ij) / std::sqrt(ii * jj);
}

// Ascending, by one-sided Jacobi turns (Hestenes 1958).
std::vector<double> singular_values(Matrix x) {
    if (x.rows > x.cols) x = transposed_of(x);
    for (double worst = 1; worst > 1e-12;) {
        worst = 0;
        for (std::int64_t i = 0; i < x.rows; ++i)
            for (std::int64_t j = i + 1; j < x.rows; ++j) worst = std::max(worst, turn_rows(x, i, j));
    }
    std::vector<double> values;
    for (std::int64_t i = 0; i < x.rows; ++i) {
        double sum = 0;
        for (std::int64_t k = 0; k < x.cols; ++k) sum += x.at(i, k) * x.at(i, k);
        values.push_back(std::sqrt(sum));
    }
    std::sort(values.begin(), values.end());
    return values;
}

struct Shape {
    std::int64_t rows, cols;
};

std::vector<float> random_matrix(const Shape& shape) {
    return random_floats(shape.rows * shape.cols, fmt::format("{}x{}", shape.rows, shape.cols));
}

std::vector<float> orthogonalised(const Shape& shape, std::vector<float> g) {
    std::vector<float> work;
    orthogonalise(shape.rows, shape.cols, g.data(), work);
    return g;
}

class OrthogonaliseShape : public testing::TestWithParam<Shape> {};
INSTANTIATE_TEST_SUITE_P(Shapes, OrthogonaliseShape,
                         testing::Values(Shape{1, 1}, Shape{1, 40}, Shape{40, 1}, Shape{16, 16}, Shape{48, 48},
                                         Shape{33, 100}, Shape{100, 33}, Shape{64, 256}, Shape{256, 64}));

// Five steps multiply a small singular value by at most 3.4445^5 = 485: one below 0.002 of the norm, as a random square
// matrix may have, is only lifted.
TEST_P(OrthogonaliseShape, BringsSingularValuesAbove500thOfTheNormNearOne) {
    const auto [rows, cols] = GetParam();
    const Matrix g(rows, cols, random_matrix(GetParam()));
    const std::vector<double> before = singular_values(g);
    const std::vector<double> after =
        singular_values({rows, cols, orthogonalised(GetParam(), random_matrix(GetParam()))});
    const auto above = std::lower_bound(before.begin(), before.end(), 0.002 * norm_of(g));
    ASSERT_LE(above - before.begin(), rows == cols ? 1 : 0) << "matrices of this test have larger singular values";
    EXPECT_GE(after[static_cast<std::size_t>(above - before.begin())], 0.5);
    EXPECT_LE(after.back(), 1.3);
}

TEST_P(OrthogonaliseShape, AgreesWithTheIterationInDouble) {
    const auto [rows, cols] = GetParam();
    const std::vector<float> g = random_matrix(GetParam());
    const Matrix expected = referee({rows, cols, g});
    Matrix difference(rows, cols, orthogonalised(GetParam(), g));
    for (std::size_t i = 0; i < expected.values.size(); ++i) difference.values[i] -= expected.values[i];
    EXPECT_LT(norm_of(difference), 1e-4 * norm_of(expected));
}

TEST_P(OrthogonaliseShape, DoesNotSeeTheSizeOfAMatrix) {
    const std::vector<float> g = random_matrix(GetParam());
    std::vector<float> large = g;
    for (float& value : large) value *= 0x1p124F;  // the norm of a large one is no float
    const std::vector<float> expected = orthogonalised(GetParam(), g);
    const std::vector<float> found = orthogonalised(GetParam(), large);
    for (std::size_t i = 0; i < g.size(); ++i) ASSERT_NEAR(found[i], expected[i], 1e-5);
}

TEST(Orthogonalise, LeavesZerosZero) {
    for (const Shape shape : {Shape{8, 8}, Shape{3, 20}, Shape{20, 3}}) {
        for (const float value :
             orthogonalised(shape, std::vector<float>(static_cast<std::size_t>(shape.rows * shape.cols))))
            ASSERT_EQ(value, 0.0F);
    }
}

TEST(Orthogonalise, GivesTheSameBitsAgainAndWithAUsedWorkSpace) {
    const Shape shape = {64, 96};
    const std::vector<float> expected = orthogonalised(shape, random_matrix(shape));
    std::vector<float> work(100'000, std::numeric_limits<float>::quiet_NaN());
    for (int repetition = 0; repetition < 3; ++repetition) {
        std::vector<float> g = random_matrix(shape);
        orthogonalise(shape.rows, shape.cols, g.data(), work);
        EXPECT_EQ(g, expected);
    }
}

TEST(Orthogonalise, DoesNotHideANonFiniteValue) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        std::vector<float> g = random_matrix({8, 12});
        g[17] = bad;
        for (const float value : orthogonalised({8, 12}, g)) ASSERT_TRUE(std::isnan(value)) << bad;
    }
}

TEST(Muon, ScalesAnOrthogonalMatrixToARootMeanSquareOfAFifth) {
    for (const Shape shape : {Shape{64, 64}, Shape{64, 256}, Shape{256, 64}}) {
        // min(rows, cols) singular values of 1 over rows * cols elements.
        const double rms = std::sqrt(1.0 / static_cast<double>(std::max(shape.rows, shape.cols)));
        EXPECT_DOUBLE_EQ(muon_scale(shape.rows, shape.cols) * rms, 0.2);
    }
}

TEST(Muon, LooksAheadAlongItsMomentum) {
    const MuonStep step = {.momentum = 0.75, .gradient_scale = 0.5};
    std::vector<float> buffer = {4.0F, 0.0F};
    std::vector<float> gradient = {2.0F, -8.0F};
    muon_momentum(step, 2, gradient.data(), buffer.data(), gradient.data());
    EXPECT_EQ(buffer, (std::vector<float>{4.0F, -4.0F}));    // 0.75 * 4 + 1; -4
    EXPECT_EQ(gradient, (std::vector<float>{4.0F, -7.0F}));  // 1 + 0.75 * 4; -4 - 3
}

TEST(Muon, DecaysAValueBeforeItMovesIt) {
    const MuonStep step = {.learning_rate = 0.5, .weight_decay = 0.25};
    const std::vector<float> direction = {1.0F, -2.0F};
    std::vector<float> value = {8.0F, 16.0F};
    muon_apply(step, 3.0, 2, direction.data(), value.data());
    EXPECT_EQ(value, (std::vector<float>{8.0F * 0.875F - 1.5F, 16.0F * 0.875F + 3.0F}));
}

// Momentum and values after three elementwise steps of 10,007 elements, each made range by range between the cuts.
std::vector<float> updated_between(const std::vector<std::int64_t>& cuts, int threads) {
    constexpr std::int64_t kCount = 10'007;
    const MuonStep step = {.learning_rate = 0.01, .momentum = 0.95, .weight_decay = 0.1, .gradient_scale = 0.3};
    const std::vector<float> gradient = random_floats(kCount, "gradient");
    std::vector<float> value = random_floats(kCount, "value");
    std::vector<float> buffer(kCount);
    std::vector<float> update(kCount);
    with_threads(threads, [&] {
        for (int repetition = 0; repetition < 3; ++repetition) {
            std::int64_t begin = 0;
            for (const std::int64_t end : cuts) {
                muon_momentum(step, end - begin, gradient.data() + begin, buffer.data() + begin, update.data() + begin);
                muon_apply(step, 1.7, end - begin, update.data() + begin, value.data() + begin);
                begin = end;
            }
        }
    });
    value.insert(value.end(), buffer.begin(), buffer.end());
    return value;
}

TEST(Muon, GivesAnElementTheSameBitsWhereverItsRangeBeginsAndEnds) {
    const std::vector<float> whole = updated_between({10'007}, 1);
    for (const int threads : {1, 2})
        EXPECT_TRUE(updated_between({1, 6, 23, 56, 2503, 5003, 9991, 10'007}, threads) == whole) << threads;
}

}  // namespace
}  // namespace kiban::worker
