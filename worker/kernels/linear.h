// SPDX-License-Identifier: Apache-2.0
// y = residual + x W^T + bias on row-major [rows, in] and W [out, in], and its backward products.
//
// In bf16 the operands of every product are bf16 and its sums fp32; a result is fp32, or bf16 rounded once at the end.
// Weight gradients go straight into the flat gradient buffer: no temporary, no separate addition. Use the OpenMP
// threads of the process; bit-equal from run to run for the same thread count.
#pragma once

#include <cstdint>

#include "worker/kernels/accumulator.h"
#include "worker/kernels/bf16.h"

namespace kiban::worker {

struct LinearShape {
    std::int64_t rows = 0;
    std::int64_t in = 0;
    std::int64_t out = 0;
};

/// bias [out] and residual [rows, out] may be null.
void linear_forward(const LinearShape& shape, const float* x, const float* weight, const float* bias,
                    const float* residual, float* y);

/// dx [rows, in] = dy W.
void linear_backward_input(const LinearShape& shape, const float* dy, const float* weight, float* dx);

/// Accumulates dy^T x into the weight's gradient and the column sums of dy into the bias'.
void linear_backward_weight(const LinearShape& shape, const float* x, const float* dy, Accumulator weight,
                            Accumulator bias);

/// bias [out] and residual [rows, out] may be null.
void linear_forward(const LinearShape& shape, const Bf16* x, const Bf16* weight, const float* bias,
                    const float* residual, float* y);
void linear_forward(const LinearShape& shape, const Bf16* x, const Bf16* weight, const float* bias, Bf16* y);

void linear_backward_input(const LinearShape& shape, const Bf16* dy, const Bf16* weight, float* dx);
void linear_backward_input(const LinearShape& shape, const Bf16* dy, const Bf16* weight, Bf16* dx);

/// The products alone: a bias' gradient is column_sums() of dy (kernels/reduce.h).
void linear_backward_weight(const LinearShape& shape, const Bf16* x, const Bf16* dy, Accumulator weight);

}  // namespace kiban::worker
