// SPDX-License-Identifier: Apache-2.0
// Fused AdamW on flat fp32 ranges (Loshchilov and Hutter 2019, Algorithm 2; bias correction as Kingma and Ba 2015): one
// pass over memory.
#pragma once

#include <cstdint>

namespace kiban::worker {

struct AdamWStep {  // doubles: 1 - beta2 formed from a float would be off by 1e-5
    double learning_rate = 0;
    double beta1 = 0;
    double beta2 = 0;
    double epsilon = 0;
    double weight_decay = 0;      // 0 for tensors without decay
    double gradient_scale = 1;    // the clipping factor
    double bias_correction1 = 1;  // 1 - beta1^t
    double bias_correction2 = 1;  // 1 - beta2^t
};

/// Updates value, exp_avg and exp_avg_sq (each `count` floats) from gradient, element by element, as PyTorch's AdamW
/// does: value *= 1 - lr*decay; m, v moving averages of g = scale*gradient; value -= lr / bc1 * m / (sqrt(v / bc2) +
/// eps). An element's bits depend on its own inputs alone: not on the range it stands in, the instruction set or the
/// number of threads (the OpenMP threads of the process).
void adamw_update(const AdamWStep& step, std::int64_t count, const float* gradient, float* value, float* exp_avg,
                  float* exp_avg_sq);

/// Sum of squares in double: per fixed block of 64 Ki elements, then over blocks in order; the result does not depend
/// on the thread count.
double sum_of_squares(const float* values, std::int64_t count);

}  // namespace kiban::worker
