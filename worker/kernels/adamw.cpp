// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/adamw.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "worker/device/device.h"
#include "worker/kernels/aten/kernels.h"
#include "worker/kernels/simd.h"

namespace kiban::worker {

namespace {

constexpr std::int64_t kBlockElements = 64 * 1024;

struct Factors {
    float gradient_scale, keep, beta1, rest1, beta2, rest2, step_size, inverse_root_correction2, epsilon;
};

KIBAN_SIMD void adamw_block(const Factors& factors, std::int64_t count, const float* __restrict gradient,
                            float* __restrict value, float* __restrict exp_avg, float* __restrict exp_avg_sq) {
    const Factors f = factors;
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
        const float g = f.gradient_scale * gradient[i];
        const float m = f.beta1 * exp_avg[i] + f.rest1 * g;
        const float v = f.beta2 * exp_avg_sq[i] + f.rest2 * (g * g);
        exp_avg[i] = m;
        exp_avg_sq[i] = v;
        value[i] = value[i] * f.keep - f.step_size * (m / (std::sqrt(v) * f.inverse_root_correction2 + f.epsilon));
    }
}

KIBAN_SIMD double block_sum_of_squares(const float* values, std::int64_t count) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < count; ++i) {
        const auto value = static_cast<double>(values[i]);
        sum += value * value;
    }
    return sum;
}

}  // namespace

void adamw_update(const AdamWStep& step, std::int64_t count, const float* gradient, float* value, float* exp_avg,
                  float* exp_avg_sq) {
    if (aten_kernels()) return aten::adamw_update(step, count, gradient, value, exp_avg, exp_avg_sq);
    const Factors factors = {
        .gradient_scale = static_cast<float>(step.gradient_scale),
        .keep = static_cast<float>(1.0 - step.learning_rate * step.weight_decay),
        .beta1 = static_cast<float>(step.beta1),
        .rest1 = static_cast<float>(1.0 - step.beta1),
        .beta2 = static_cast<float>(step.beta2),
        .rest2 = static_cast<float>(1.0 - step.beta2),
        .step_size = static_cast<float>(step.learning_rate / step.bias_correction1),
        .inverse_root_correction2 = static_cast<float>(1.0 / std::sqrt(step.bias_correction2)),
        .epsilon = static_cast<float>(step.epsilon),
    };
    const std::int64_t blocks = (count + kBlockElements - 1) / kBlockElements;
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < blocks; ++block) {
        const std::int64_t begin = block * kBlockElements;
        adamw_block(factors, std::min(kBlockElements, count - begin), gradient + begin, value + begin, exp_avg + begin,
                    exp_avg_sq + begin);
    }
}

double sum_of_squares(const float* values, std::int64_t count) {
    if (aten_kernels()) return aten::sum_of_squares(values, count);
    const std::int64_t blocks = (count + kBlockElements - 1) / kBlockElements;
    std::vector<double> partial(static_cast<std::size_t>(blocks));
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < blocks; ++block) {
        const std::int64_t begin = block * kBlockElements;
        partial[static_cast<std::size_t>(block)] =
            block_sum_of_squares(values + begin, std::min(kBlockElements, count - begin));
    }
    double sum = 0;
    for (const double part : partial) sum += part;
    return sum;
}

}  // namespace kiban::worker
