// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/linear.h"

#include "worker/device/device.h"
#include "worker/kernels/aten/kernels.h"
#include "worker/kernels/gemm.h"
#include "worker/kernels/gemm_bf16.h"
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

/// Writes bias and residual where a product is added to them; false: there are neither.
bool start_rows(const LinearShape& shape, const float* bias, const float* residual, float* y) {
    if (bias == nullptr && residual == nullptr) return false;
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < shape.rows; ++row)
        start_row(shape.out, bias, residual == nullptr ? nullptr : residual + row * shape.out, y + row * shape.out);
    return true;
}

}  // namespace

void linear_forward(const LinearShape& shape, const float* x, const float* weight, const float* bias,
                    const float* residual, float* y) {
    if (aten_kernels()) return aten::linear_forward(shape, x, weight, bias, residual, y);
    const auto [rows, in, out] = shape;
    const bool started = start_rows(shape, bias, residual, y);
    gemm(rows, out, in, 1.0F, {x, in}, transposed(weight, in), started ? 1.0F : 0.0F, y, out);
}

void linear_backward_input(const LinearShape& shape, const float* dy, const float* weight, float* dx) {
    if (aten_kernels()) return aten::linear_backward_input(shape, dy, weight, dx);
    gemm(shape.rows, shape.in, shape.out, 1.0F, {dy, shape.out}, {weight, shape.in}, 0.0F, dx, shape.in);
}

void linear_backward_weight(const LinearShape& shape, const float* x, const float* dy, Accumulator weight,
                            Accumulator bias) {
    if (aten_kernels()) return aten::linear_backward_weight(shape, x, dy, weight, bias);
    const auto [rows, in, out] = shape;
    if (weight.sums != nullptr) gemm(out, in, rows, 1.0F, transposed(dy, out), {x, in}, weight.beta, weight.sums, in);
    if (bias.sums != nullptr) column_sums(rows, out, dy, bias);
}

void linear_forward(const LinearShape& shape, const Bf16* x, const Bf16* weight, const float* bias,
                    const float* residual, float* y) {
    const auto [rows, in, out] = shape;
    const bool started = start_rows(shape, bias, residual, y);
    gemm_bf16(rows, out, in, {x, in}, transposed(weight, in), started, y, out);
}

void linear_forward(const LinearShape& shape, const Bf16* x, const Bf16* weight, const float* bias, Bf16* y) {
    const auto [rows, in, out] = shape;
    gemm_bf16(rows, out, in, {x, in}, transposed(weight, in), bias, y, out);
}

void linear_backward_input(const LinearShape& shape, const Bf16* dy, const Bf16* weight, float* dx) {
    gemm_bf16(shape.rows, shape.in, shape.out, {dy, shape.out}, {weight, shape.in}, false, dx, shape.in);
}

void linear_backward_input(const LinearShape& shape, const Bf16* dy, const Bf16* weight, Bf16* dx) {
    gemm_bf16(shape.rows, shape.in, shape.out, {dy, shape.out}, {weight, shape.in}, nullptr, dx, shape.in);
}

void linear_backward_weight(const LinearShape& shape, const Bf16* x, const Bf16* dy, Accumulator weight) {
    const auto [rows, in, out] = shape;
    if (weight.sums == nullptr) return;
    gemm_bf16(out, in, rows, transposed(dy, out), {x, in}, weight.beta != 0.0F, weight.sums, in);
}

}  // namespace kiban::worker
