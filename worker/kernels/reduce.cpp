// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/reduce.h"

#include <algorithm>
#include <array>

#include "worker/kernels/simd.h"

namespace kiban::worker {

namespace {

constexpr std::int64_t kStripColumns = 64;
constexpr std::int64_t kPartialRows = 64;
using Strip = std::array<float, kStripColumns>;

KIBAN_SIMD void sum_strip(std::int64_t rows, std::int64_t columns, std::int64_t stride, const float* matrix,
                          float* sums) {
    Strip total{};
    for (std::int64_t first = 0; first < rows; first += kPartialRows) {
        Strip partial{};
        const std::int64_t last = std::min(rows, first + kPartialRows);
        for (std::int64_t row = first; row < last; ++row) {
            const float* source = matrix + row * stride;
#pragma omp simd
            for (std::int64_t column = 0; column < columns; ++column)
                partial[static_cast<std::size_t>(column)] += source[column];
        }
        for (std::size_t column = 0; column < kStripColumns; ++column) total[column] += partial[column];
    }
    std::copy_n(total.begin(), columns, sums);
}

}  // namespace

void column_sums(std::int64_t rows, std::int64_t columns, const float* matrix, Accumulator result) {
    const std::int64_t strips = (columns + kStripColumns - 1) / kStripColumns;
#pragma omp parallel for schedule(static)
    for (std::int64_t strip = 0; strip < strips; ++strip) {
        const std::int64_t begin = strip * kStripColumns;
        const std::int64_t width = std::min(kStripColumns, columns - begin);
        Strip strip_sums;
        sum_strip(rows, width, columns, matrix + begin, strip_sums.data());
        for (std::int64_t column = 0; column < width; ++column) {
            float& sum = result.sums[begin + column];
            sum = strip_sums[static_cast<std::size_t>(column)] + (result.beta == 0.0F ? 0.0F : result.beta * sum);
        }
    }
}

}  // namespace kiban::worker
