// SPDX-License-Identifier: Apache-2.0
// Fused AdamW on flat fp32 ranges (Loshchilov and Hutter 2019, Algorithm 2; bias correction as Kingma and Ba 2015): one pass over memory.
#pragma once

#include <cstdint>

namespace kiban::worker {

struct AdamWStep {
    float learning_rate = 0;
    float beta1 = 0;
    float beta2 = 0;
    float epsilon = 0;
    float weight_decay = 0;      // 0 for tensors without decay
    float gradient_scale = 1;    // the clipping factor
    float bias_correction1 = 1;  // 1 - beta1^t
    float bias_correction2 = 1;  // 1 - beta2^t
};

/// Updates value, exp_avg and exp_avg_sq (each `count` floats) from gradient, element by element, as PyTorch's AdamW does:
/// value *= 1 - lr*decay; m, v moving averages of g = scale*gradient; value -= lr / bc1 * m / (sqrt(v / bc2) + eps).
/// Uses the OpenMP threads of the process; the result does not depend on their number.
void adamw_update(const AdamWStep& step, std::int64_t count, const float* gradient, float* value, float* exp_avg, float* exp_avg_sq);

/// Sum of squares in double: per fixed block of 64 Ki elements, then over blocks in order; the result does not depend on the thread count.
double sum_of_squares(const float* values, std::int64_t count);

}  // namespace kiban::worker
