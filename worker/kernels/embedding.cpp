// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/embedding.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "worker/device/device.h"
#include "worker/kernels/aten/kernels.h"
#include "worker/kernels/simd.h"

namespace kiban::worker {

namespace {

KIBAN_SIMD void add_row(std::int64_t width, const float* source, float* sum) {
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) sum[i] += source[i];
}

void prepare(std::int64_t rows, std::int64_t width, Accumulator table) {
    if (table.beta == 1.0F) return;
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < rows; ++row) {
        float* sum = table.sums + row * width;
        if (table.beta == 0.0F)
            std::memset(sum, 0, static_cast<std::size_t>(width) * sizeof(float));
        else
            std::transform(sum, sum + width, sum, [&](float value) { return table.beta * value; });
    }
}

}  // namespace

void embedding_forward(std::span<const std::int64_t> tokens, std::int64_t first, std::int64_t tokens_per_row,
                       std::int64_t width, const float* table, const float* positions, float* x) {
    if (aten_kernels()) return aten::embedding_forward(tokens, first, tokens_per_row, width, table, positions, x);
    const auto count = static_cast<std::int64_t>(tokens.size());
    const auto row_bytes = static_cast<std::size_t>(width) * sizeof(float);
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < count; ++i) {
        std::memcpy(x + i * width, table + tokens[static_cast<std::size_t>(i)] * width, row_bytes);
        if (positions != nullptr) add_row(width, positions + ((first + i) % tokens_per_row) * width, x + i * width);
    }
}

void add_positions(std::span<const std::int64_t> places, std::int64_t width, const float* positions, float* x) {
    if (aten_kernels()) return aten::add_positions(places, width, positions, x);
    const auto count = static_cast<std::int64_t>(places.size());
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < count; ++i)
        add_row(width, positions + places[static_cast<std::size_t>(i)] * width, x + i * width);
}

void embedding_backward(std::span<const std::int64_t> tokens, std::int64_t vocabulary, std::int64_t width,
                        const float* dx, Accumulator table) {
    if (aten_kernels()) return aten::embedding_backward(tokens, vocabulary, width, dx, table);
    prepare(vocabulary, width, table);
    std::vector<std::size_t> order(tokens.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return tokens[a] < tokens[b]; });
    std::vector<std::size_t> starts;  // of each run of one token in `order`
    for (std::size_t i = 0; i < order.size(); ++i)
        if (i == 0 || tokens[order[i]] != tokens[order[i - 1]]) starts.push_back(i);
    starts.push_back(order.size());
    const auto runs = static_cast<std::int64_t>(starts.size()) - 1;
#pragma omp parallel for schedule(static)
    for (std::int64_t run = 0; run < runs; ++run) {
        const std::size_t first = starts[static_cast<std::size_t>(run)];
        const std::size_t last = starts[static_cast<std::size_t>(run) + 1];
        float* sum = table.sums + tokens[order[first]] * width;
        for (std::size_t i = first; i < last; ++i)
            add_row(width, dx + static_cast<std::int64_t>(order[i]) * width, sum);
    }
}

void positions_backward(std::int64_t first, std::int64_t count, std::int64_t tokens_per_row, std::int64_t table_rows,
                        std::int64_t width, const float* dx, Accumulator positions) {
    if (aten_kernels()) return aten::positions_backward(first, count, tokens_per_row, table_rows, width, dx, positions);
    prepare(table_rows, width, positions);
#pragma omp parallel for schedule(static)
    for (std::int64_t t = 0; t < tokens_per_row; ++t) {
        const std::int64_t earliest = (t - first % tokens_per_row + tokens_per_row) % tokens_per_row;
        for (std::int64_t i = earliest; i < count; i += tokens_per_row)
            add_row(width, dx + i * width, positions.sums + t * width);
    }
}

}  // namespace kiban::worker
