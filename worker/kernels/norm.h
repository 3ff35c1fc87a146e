// SPDX-License-Identifier: Apache-2.0
// LayerNorm (Ba et al. 2016) and RMSNorm (Zhang and Sennrich 2019) over the last dimension of [rows, width].
//
// Both are y = (x - mean) * rstd * weight + bias; RMSNorm has mean 0, no bias, and rstd from the plain mean square.
// Use the OpenMP threads of the process; the results do not depend on their number.
#pragma once

#include <cstdint>

#include "worker/kernels/accumulator.h"

namespace kiban::worker {

struct NormShape {
    std::int64_t rows = 0;
    std::int64_t width = 0;
    bool centred = true;  // true: LayerNorm, with bias; false: RMSNorm, bias pointers unused
    float epsilon = 1e-5F;
};

/// Writes y [rows, width] and, per row, statistics [rows, 2] = (mean, rstd).
void norm_forward(const NormShape& shape, const float* x, const float* weight, const float* bias, float* y,
                  float* statistics);

/// dx = passing + d(norm)/dx * dy, where `passing` (null: 0) is the gradient that reaches x past the norm; dx may be
/// `passing` itself. Weight and bias sums run over blocks of 32 rows, then over blocks in order.
void norm_backward(const NormShape& shape, const float* x, const float* weight, const float* statistics,
                   const float* dy, const float* passing, float* dx, Accumulator weight_gradient,
                   Accumulator bias_gradient);

}  // namespace kiban::worker
