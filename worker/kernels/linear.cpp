// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/linear.h"

#include "worker/kernels/gemm.h"
#include "worker/kernels/reduce.h"
#include "worker/kernels/simd.h"

namespace kiban::worker {

namespace {

KIBAN_SIMD void start_row(std::int64_t width, const float* bias, const float* residual, float* y) {
    if (bias == nullptr) {
#pragma omp simd
        for (std::int64_t i = 0; i < width; ++i) y[i] = residual[i];
    } else if (residual == nullptr) {
#pragma omp simd
        for (std::int64_t i = 0; i < width; ++i) y[i] = bias[i];
    } else {
#pragma omp simd
        for (std::int64_t i = 0; i < width; ++i) y[i] = bias[i] + residual[i];
    }
}

}  // namespace

void linear_forward(const LinearShape& shape, const float* x, const float* weight, const float* bias,
                    const float* residual, float* y) {
    const auto [rows, in, out] = shape;
    const bool started = bias != nullptr || residual != nullptr;
    if (started) {
#pragma omp parallel for schedule(static)
        for (std::int64_t row = 0; row < rows; ++row)
            start_row(out, bias, residual == nullptr ? nullptr : residual + row * out, y + row * out);
    }
    gemm(rows, out, in, 1.0F, {x, in}, transposed(weight, in), started ? 1.0F : 0.0F, y, out);
}

void linear_backward_input(const LinearShape& shape, const float* dy, const float* weight, float* dx) {
    gemm(shape.rows, shape.in, shape.out, 1.0F, {dy, shape.out}, {weight, shape.in}, 0.0F, dx, shape.in);
}

void linear_backward_weight(const LinearShape& shape, const float* x, const float* dy, Accumulator weight,
                            Accumulator bias) {
    const auto [rows, in, out] = shape;
    if (weight.sums != nullptr) gemm(out, in, rows, 1.0F, transposed(dy, out), {x, in}, weight.beta, weight.sums, in);
    if (bias.sums != nullptr) column_sums(rows, out, dy, bias);
}

}  // namespace kiban::worker
