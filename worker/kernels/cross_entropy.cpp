// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "worker/device/device.h"
#include "worker/kernels/aten/kernels.h"
#include "worker/kernels/simd.h"

namespace kiban::worker {

namespace {

constexpr std::int64_t kBlockElements = 1024;  // summed in float within a block, in double across blocks

KIBAN_SIMD float largest(std::int64_t count, const float* x) {
    float most = x[0];
#pragma omp simd reduction(max : most)
    for (std::int64_t i = 0; i < count; ++i) most = x[i] > most ? x[i] : most;
    return most;
}

KIBAN_SIMD float block_sum_of_exp(std::int64_t count, const float* x, float most) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < count; ++i) sum += simd_exp(x[i] - most);
    return sum;
}

KIBAN_SIMD float block_replace_by_exp(std::int64_t count, float* x, float most) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < count; ++i) {
        const float e = simd_exp(x[i] - most);
        x[i] = e;
        sum += e;
    }
    return sum;
}

KIBAN_SIMD void multiply(std::int64_t count, float factor, float* x) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) x[i] *= factor;
}

template <typename Element, typename BlockSum>
double sum_over_blocks(std::int64_t count, Element* x, float most, BlockSum block_sum) {
    double sum = 0;
    for (std::int64_t first = 0; first < count; first += kBlockElements)
        sum += static_cast<double>(block_sum(std::min(kBlockElements, count - first), x + first, most));
    return sum;
}

}  // namespace

std::int64_t cross_entropy(std::int64_t vocabulary, const float* logits, std::span<const std::int64_t> targets,
                           std::span<double> losses) {
    if (aten_kernels()) return aten::cross_entropy(vocabulary, logits, targets, losses);
    const auto rows = static_cast<std::int64_t>(targets.size());
    std::int64_t first_choices = 0;
#pragma omp parallel for schedule(static) reduction(+ : first_choices)
    for (std::int64_t row = 0; row < rows; ++row) {
        const float* x = logits + row * vocabulary;
        const std::int64_t target = targets[static_cast<std::size_t>(row)];
        double& loss = losses[static_cast<std::size_t>(row)];
        loss = 0;
        if (target < 0) continue;
        const float most = largest(vocabulary, x);
        const double sum = sum_over_blocks(vocabulary, x, most, block_sum_of_exp);
        loss = std::log(sum) + static_cast<double>(most) - static_cast<double>(x[target]);
        first_choices += x[target] >= most ? 1 : 0;
    }
    return first_choices;
}

void cross_entropy_with_gradient(std::int64_t vocabulary, float scale, float* logits,
                                 std::span<const std::int64_t> targets, std::span<double> losses, double z_loss) {
    if (aten_kernels()) return aten::cross_entropy_with_gradient(vocabulary, scale, logits, targets, losses, z_loss);
    const auto rows = static_cast<std::int64_t>(targets.size());
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < rows; ++row) {
        float* x = logits + row * vocabulary;
        const std::int64_t target = targets[static_cast<std::size_t>(row)];
        double& loss = losses[static_cast<std::size_t>(row)];
        loss = 0;
        if (target < 0) {
            std::memset(x, 0, static_cast<std::size_t>(vocabulary) * sizeof(float));
            continue;
        }
        const float most = largest(vocabulary, x);
        const float at_target = x[target];
        const double sum = sum_over_blocks(vocabulary, x, most, block_replace_by_exp);
        const double log_sum_exp = std::log(sum) + static_cast<double>(most);
        loss = log_sum_exp - static_cast<double>(at_target);
        const double softmax_scale = static_cast<double>(scale) * (1.0 + 2.0 * z_loss * log_sum_exp);
        multiply(vocabulary, static_cast<float>(softmax_scale / sum), x);
        x[target] -= scale;
    }
}

}  // namespace kiban::worker
