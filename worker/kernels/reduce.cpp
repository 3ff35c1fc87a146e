// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/reduce.h"

#include <algorithm>
#include <array>

#include "worker/device/device.h"
#include "worker/kernels/aten/kernels.h"
#include "worker/kernels/simd.h"

namespace kiban::worker {

namespace {

constexpr std::int64_t kStripColumns = 64;
constexpr std::int64_t kPartialRows = 64;
using Strip = std::array<float, kStripColumns>;

KIBAN_SIMD void add_row(std::int64_t columns, const float* row, float* sums) {
#pragma omp simd
    for (std::int64_t column = 0; column < columns; ++column) sums[column] += row[column];
}

KIBAN_SIMD void add_row(std::int64_t columns, const Bf16* row, float* sums) {
#pragma omp simd
    for (std::int64_t column = 0; column < columns; ++column) sums[column] += widened(row[column]);
}

template <typename Element>
void sum_strip(std::int64_t rows, std::int64_t columns, std::int64_t stride, const Element* matrix, float* sums) {
    Strip total{};
    for (std::int64_t first = 0; first < rows; first += kPartialRows) {
        Strip partial{};
        const std::int64_t last = std::min(rows, first + kPartialRows);
        for (std::int64_t row = first; row < last; ++row) add_row(columns, matrix + row * stride, partial.data());
        for (std::size_t column = 0; column < kStripColumns; ++column) total[column] += partial[column];
    }
    std::copy_n(total.begin(), columns, sums);
}

constexpr std::int64_t kLanes = 16;

// Reordered by hand, not by the compiler: element j goes to lane j % 16 in order. The square of a float is exact in
// double, so that a fused multiply-add changes nothing.
KIBAN_SIMD double sum_of_squares_in_lanes(const float* x, std::int64_t count) {
    std::array<double, kLanes> lanes{};
    const std::int64_t whole = count / kLanes * kLanes;
    for (std::int64_t first = 0; first < whole; first += kLanes) {
#pragma omp simd
        for (std::int64_t lane = 0; lane < kLanes; ++lane) {
            const auto value = static_cast<double>(x[first + lane]);
            lanes[static_cast<std::size_t>(lane)] += value * value;
        }
    }
    for (std::int64_t i = whole; i < count; ++i) {
        const auto value = static_cast<double>(x[i]);
        lanes[static_cast<std::size_t>(i - whole)] += value * value;
    }
    for (std::size_t half = kLanes / 2; half > 0; half /= 2) {
        for (std::size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    }
    return lanes[0];
}

template <typename Element>
void sum_columns(std::int64_t rows, std::int64_t columns, const Element* matrix, Accumulator result) {
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

}  // namespace

void column_sums(std::int64_t rows, std::int64_t columns, const float* matrix, Accumulator result) {
    if (aten_kernels()) return aten::column_sums(rows, columns, matrix, result);
    sum_columns(rows, columns, matrix, result);
}

void column_sums(std::int64_t rows, std::int64_t columns, const Bf16* matrix, Accumulator result) {
    sum_columns(rows, columns, matrix, result);
}

void block_sums_of_squares(const float* x, std::int64_t count, std::int64_t block, double* sums) {
    if (aten_kernels()) return aten::block_sums_of_squares(x, count, block, sums);
    const std::int64_t blocks = (count + block - 1) / block;
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < blocks; ++i)
        sums[i] = sum_of_squares_in_lanes(x + i * block, std::min(block, count - i * block));
}

double tree_sum(std::span<const double> values) {
    if (values.empty()) return 0;
    if (values.size() == 1) return values[0];
    const std::size_t half = values.size() / 2;
    return tree_sum(values.first(half)) + tree_sum(values.subspan(half));
}

}  // namespace kiban::worker
