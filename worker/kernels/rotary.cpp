// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/rotary.h"

#include <cmath>

#include "worker/device/device.h"
#include "worker/kernels/aten/kernels.h"
#include "worker/kernels/simd.h"

namespace kiban::worker {

namespace {

KIBAN_SIMD void rotate_head(std::int64_t half, float direction, const float* cosines, const float* sines, float* x) {
    float* y = x + half;
#pragma omp simd
    for (std::int64_t i = 0; i < half; ++i) {
        const float sine = direction * sines[i];
        const float a = x[i];
        const float b = y[i];
        x[i] = a * cosines[i] - b * sine;
        y[i] = b * cosines[i] + a * sine;
    }
}

}  // namespace

RotaryTable rotary_table(std::int64_t tokens, std::int64_t head_size, double theta) {
    RotaryTable table{.head_size = head_size, .cosines = {}, .sines = {}};
    for (std::int64_t position = 0; position < tokens; ++position) {
        for (std::int64_t i = 0; i < head_size / 2; ++i) {
            const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(head_size);
            const double angle = static_cast<double>(position) * std::pow(theta, exponent);
            table.cosines.push_back(static_cast<float>(std::cos(angle)));
            table.sines.push_back(static_cast<float>(std::sin(angle)));
        }
    }
    return table;
}

void rotate(const RotaryTable& table, Turn turn, std::int64_t rows, std::int64_t tokens_per_row, std::int64_t heads,
            std::int64_t stride, float* x) {
    if (aten_kernels()) return aten::rotate(table, turn, rows, tokens_per_row, heads, stride, x);
    const std::int64_t half = table.head_size / 2;
    const float direction = turn == Turn::forward ? 1.0F : -1.0F;
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < rows; ++row) {
        const std::int64_t at = (row % tokens_per_row) * half;
        for (std::int64_t head = 0; head < heads; ++head)
            rotate_head(half, direction, table.cosines.data() + at, table.sines.data() + at,
                        x + row * stride + head * table.head_size);
    }
}

void rotate(const RotaryTable& table, Turn turn, std::int64_t rows, std::int64_t tokens_per_row, std::int64_t heads,
            std::int64_t stride, Bf16* x) {
    const std::int64_t half = table.head_size / 2;
    const float direction = turn == Turn::forward ? 1.0F : -1.0F;
#pragma omp parallel
    {
        std::vector<float> values(static_cast<std::size_t>(heads * table.head_size));
#pragma omp for schedule(static)
        for (std::int64_t row = 0; row < rows; ++row) {
            const std::int64_t at = (row % tokens_per_row) * half;
            widen_run(heads * table.head_size, x + row * stride, values.data());
            for (std::int64_t head = 0; head < heads; ++head)
                rotate_head(half, direction, table.cosines.data() + at, table.sines.data() + at,
                            values.data() + head * table.head_size);
            round_run(heads * table.head_size, values.data(), x + row * stride);
        }
    }
}

}  // namespace kiban::worker
