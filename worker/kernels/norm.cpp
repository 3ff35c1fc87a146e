// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "worker/device/device.h"
#include "worker/kernels/aten/kernels.h"
#include "worker/kernels/simd.h"

namespace kiban::worker {

namespace {

constexpr std::int64_t kRowsPerBlock = 32;

KIBAN_SIMD void norm_row(const NormShape& shape, const float* x, const float* weight, const float* bias, float* y,
                         float* statistics) {
    const std::int64_t width = shape.width;
    const auto count = static_cast<float>(width);
    float mean = 0;
    if (shape.centred) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (std::int64_t i = 0; i < width; ++i) sum += x[i];
        mean = sum / count;
    }
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (std::int64_t i = 0; i < width; ++i) squares += (x[i] - mean) * (x[i] - mean);
    const float rstd = 1.0F / std::sqrt(squares / count + shape.epsilon);
    statistics[0] = mean;
    statistics[1] = rstd;
    if (shape.centred) {
#pragma omp simd
        for (std::int64_t i = 0; i < width; ++i) y[i] = (x[i] - mean) * rstd * weight[i] + bias[i];
    } else {
#pragma omp simd
        for (std::int64_t i = 0; i < width; ++i) y[i] = x[i] * rstd * weight[i];
    }
}

/// One row of the backward pass; adds the row's share to dweight and dbias.
KIBAN_SIMD void norm_gradient_row(const NormShape& shape, const float* x, const float* weight, const float* statistics,
                                  const float* dy, const float* passing, float* dx, float* dweight, float* dbias) {
    const std::int64_t width = shape.width;
    const float mean = statistics[0];
    const float rstd = statistics[1];
    float sum = 0;
    float projection = 0;
#pragma omp simd reduction(+ : sum, projection)
    for (std::int64_t i = 0; i < width; ++i) {
        const float normal = (x[i] - mean) * rstd;
        const float g = dy[i] * weight[i];
        sum += g;
        projection += g * normal;
        dweight[i] += dy[i] * normal;
        dbias[i] += dy[i];
    }
    const float mean_g = shape.centred ? sum / static_cast<float>(width) : 0.0F;
    const float mean_projection = projection / static_cast<float>(width);
    if (passing != nullptr) {
#pragma omp simd
        for (std::int64_t i = 0; i < width; ++i)
            dx[i] = passing[i] + rstd * (dy[i] * weight[i] - mean_g - (x[i] - mean) * rstd * mean_projection);
    } else {
#pragma omp simd
        for (std::int64_t i = 0; i < width; ++i)
            dx[i] = rstd * (dy[i] * weight[i] - mean_g - (x[i] - mean) * rstd * mean_projection);
    }
}

/// Accumulates the blocks' partial sums in block order; block b's stand at partial[b * stride].
void add_partials(std::int64_t width, std::int64_t blocks, std::int64_t stride, const float* partial,
                  Accumulator result) {
    if (result.sums == nullptr) return;
    float* sums = result.sums;
    for (std::int64_t i = 0; i < width; ++i) sums[i] = result.beta == 0.0F ? 0.0F : result.beta * sums[i];
    for (std::int64_t block = 0; block < blocks; ++block)
        for (std::int64_t i = 0; i < width; ++i) sums[i] += partial[block * stride + i];
}

}  // namespace

void norm_forward(const NormShape& shape, const float* x, const float* weight, const float* bias, float* y,
                  float* statistics) {
    if (aten_kernels()) return aten::norm_forward(shape, x, weight, bias, y, statistics);
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < shape.rows; ++row)
        norm_row(shape, x + row * shape.width, weight, bias, y + row * shape.width, statistics + row * 2);
}

void norm_backward(const NormShape& shape, const float* x, const float* weight, const float* statistics,
                   const float* dy, const float* passing, float* dx, Accumulator weight_gradient,
                   Accumulator bias_gradient) {
    if (aten_kernels())
        return aten::norm_backward(shape, x, weight, statistics, dy, passing, dx, weight_gradient, bias_gradient);
    const std::int64_t width = shape.width;
    const std::int64_t blocks = (shape.rows + kRowsPerBlock - 1) / kRowsPerBlock;
    std::vector<float> partial(static_cast<std::size_t>(blocks * 2 * width), 0.0F);
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < blocks; ++block) {
        float* dweight = partial.data() + block * 2 * width;
        const std::int64_t last = std::min(shape.rows, (block + 1) * kRowsPerBlock);
        for (std::int64_t row = block * kRowsPerBlock; row < last; ++row) {
            const std::int64_t at = row * width;
            norm_gradient_row(shape, x + at, weight, statistics + row * 2, dy + at,
                              passing == nullptr ? nullptr : passing + at, dx + at, dweight, dweight + width);
        }
    }
    add_partials(width, blocks, 2 * width, partial.data(), weight_gradient);
    add_partials(width, blocks, 2 * width, partial.data() + width, bias_gradient);
}

}  // namespace kiban::worker
