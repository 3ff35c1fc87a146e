// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/muon.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "worker/device/device.h"
#include "worker/kernels/adamw.h"
#include "worker/kernels/aten/kernels.h"
#include "worker/kernels/gemm.h"
#include "worker/kernels/simd.h"

namespace kiban::worker {

namespace {

constexpr std::int64_t kBlockElements = 64 * 1024;
constexpr int kNewtonSchulzSteps = 5;
constexpr float kA = 3.4445F;
constexpr float kB = -4.7750F;
constexpr float kC = 2.0315F;
constexpr double kNormEpsilon = 1e-7;

struct MomentumFactors {
    float gradient_scale, momentum;
};

KIBAN_SIMD void momentum_block(const MomentumFactors& factors, std::int64_t count, const float* gradient, float* buffer,
                               float* update) {
    const MomentumFactors f = factors;
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
        const float g = f.gradient_scale * gradient[i];
        const float average = f.momentum * buffer[i] + g;
        buffer[i] = average;
        update[i] = g + f.momentum * average;
    }
}

KIBAN_SIMD void apply_block(float keep, float rate, std::int64_t count, const float* direction, float* value) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) value[i] = value[i] * keep - rate * direction[i];
}

KIBAN_SIMD void divide_block(double divisor, std::int64_t count, float* x) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) x[i] = static_cast<float>(static_cast<double>(x[i]) / divisor);
}

/// Calls work(begin, size) for blocks of `count` elements, on all threads.
template <typename Work>
void in_blocks(std::int64_t count, Work work) {
    const std::int64_t blocks = (count + kBlockElements - 1) / kBlockElements;
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < blocks; ++block) {
        const std::int64_t begin = block * kBlockElements;
        work(begin, std::min(kBlockElements, count - begin));
    }
}

/// polynomial [side, side] = a I + b A + c A^2, where gram = A is symmetric.
void polynomial_of(std::int64_t side, const float* gram, float* polynomial) {
    std::copy_n(gram, side * side, polynomial);
    gemm(side, side, side, kC, {gram, side}, {gram, side}, kB, polynomial, side);
    for (std::int64_t i = 0; i < side; ++i) polynomial[i * side + i] += kA;
}

/// One step of the iteration from x to next, [rows, cols] both. A tall x is not transposed: its Gram matrix is X^T X
/// and the polynomial stands on its right.
void newton_schulz(std::int64_t rows, std::int64_t cols, const float* x, float* gram, float* polynomial, float* next) {
    const bool tall = rows > cols;
    const std::int64_t side = std::min(rows, cols);
    if (tall)
        gemm(side, side, rows, 1.0F, transposed(x, cols), {x, cols}, 0.0F, gram, side);
    else
        gemm(side, side, cols, 1.0F, {x, cols}, transposed(x, cols), 0.0F, gram, side);
    polynomial_of(side, gram, polynomial);
    if (tall)
        gemm(rows, cols, side, 1.0F, {x, cols}, {polynomial, side}, 0.0F, next, cols);
    else
        gemm(rows, cols, side, 1.0F, {polynomial, side}, {x, cols}, 0.0F, next, cols);
}

}  // namespace

void muon_momentum(const MuonStep& step, std::int64_t count, const float* gradient, float* buffer, float* update) {
    if (aten_kernels()) return aten::muon_momentum(step, count, gradient, buffer, update);
    const MomentumFactors factors = {.gradient_scale = static_cast<float>(step.gradient_scale),
                                     .momentum = static_cast<float>(step.momentum)};
    in_blocks(count, [&](std::int64_t begin, std::int64_t size) {
        momentum_block(factors, size, gradient + begin, buffer + begin, update + begin);
    });
}

void orthogonalise(std::int64_t rows, std::int64_t cols, float* g, std::vector<float>& work) {
    if (aten_kernels()) return aten::orthogonalise(rows, cols, g);
    const std::int64_t elements = rows * cols;
    const std::int64_t side = std::min(rows, cols);
    const auto needed = static_cast<std::size_t>(elements + 2 * side * side);
    if (work.size() < needed) work.resize(needed);
    float* gram = work.data() + elements;
    float* polynomial = gram + side * side;
    const double divisor = std::sqrt(sum_of_squares(g, elements)) + kNormEpsilon;  // a float may not hold it
    in_blocks(elements, [&](std::int64_t begin, std::int64_t size) { divide_block(divisor, size, g + begin); });
    float* x = g;
    float* next = work.data();
    for (int step = 0; step < kNewtonSchulzSteps; ++step) {
        newton_schulz(rows, cols, x, gram, polynomial, next);
        std::swap(x, next);
    }
    if (x != g) std::copy_n(x, elements, g);
}

double muon_scale(std::int64_t rows, std::int64_t cols) {
    return 0.2 * std::sqrt(static_cast<double>(std::max(rows, cols)));
}

void muon_apply(const MuonStep& step, double scale, std::int64_t count, const float* direction, float* value) {
    if (aten_kernels()) return aten::muon_apply(step, scale, count, direction, value);
    const auto keep = static_cast<float>(1.0 - step.learning_rate * step.weight_decay);
    const auto rate = static_cast<float>(step.learning_rate * scale);
    in_blocks(count, [&](std::int64_t begin, std::int64_t size) {
        apply_block(keep, rate, size, direction + begin, value + begin);
    });
}

}  // namespace kiban::worker
