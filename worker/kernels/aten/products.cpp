// SPDX-License-Identifier: Apache-2.0
// Linear layers, sums over rows, embeddings.
#include <ATen/ATen.h>

#include <algorithm>

#include "worker/device/tensors.h"
#include "worker/kernels/aten/kernels.h"
#include "worker/kernels/aten/places.h"

namespace kiban::worker::aten {

using at::Tensor;

namespace {

// Sums for what is added row by row: what stood there times beta.
Tensor begun(Accumulator result, std::int64_t rows, std::int64_t width) {
    Tensor sums = view(result.sums, {rows, width});
    if (result.beta == 0.0F)
        sums.zero_();
    else if (result.beta != 1.0F)
        sums.mul_(result.beta);
    return sums;
}

}  // namespace

void linear_forward(const LinearShape& shape, const float* x, const float* weight, const float* bias,
                    const float* residual, float* y) {
    const Tensor in = view(x, {shape.rows, shape.in});
    const Tensor factor = view(weight, {shape.out, shape.in}).t();
    Tensor out = view(y, {shape.rows, shape.out});
    if (residual != nullptr) {
        at::addmm_out(out, view(residual, {shape.rows, shape.out}), in, factor);
        if (bias != nullptr) out.add_(view(bias, {shape.out}));
    } else if (bias != nullptr) {
        at::addmm_out(out, view(bias, {shape.out}), in, factor);
    } else {
        at::mm_out(out, in, factor);
    }
}

void linear_backward_input(const LinearShape& shape, const float* dy, const float* weight, float* dx) {
    Tensor out = view(dx, {shape.rows, shape.in});
    at::mm_out(out, view(dy, {shape.rows, shape.out}), view(weight, {shape.out, shape.in}));
}

void linear_backward_weight(const LinearShape& shape, const float* x, const float* dy, Accumulator weight,
                            Accumulator bias) {
    if (weight.sums != nullptr) {
        Tensor sums = view(weight.sums, {shape.out, shape.in});
        const Tensor gradient = view(dy, {shape.rows, shape.out}).t();
        const Tensor in = view(x, {shape.rows, shape.in});
        if (weight.beta == 0.0F)
            at::mm_out(sums, gradient, in);
        else
            sums.addmm_(gradient, in, weight.beta);
    }
    if (bias.sums != nullptr) column_sums(shape.rows, shape.out, dy, bias);
}

void column_sums(std::int64_t rows, std::int64_t columns, const float* matrix, Accumulator result) {
    accumulate(result, view(matrix, {rows, columns}).sum(0));
}

void embedding_forward(std::span<const std::int64_t> tokens, std::int64_t first, std::int64_t tokens_per_row,
                       std::int64_t width, const float* table, const float* positions, float* x) {
    const auto count = static_cast<std::int64_t>(tokens.size());
    if (count == 0) return;
    const std::int64_t rows_used = *std::max_element(tokens.begin(), tokens.end()) + 1;
    Tensor out = view(x, {count, width});
    at::index_select_out(out, view(table, {rows_used, width}), 0, on_device(tokens));
    if (positions == nullptr) return;
    out.add_(view(positions, {tokens_per_row, width}).index_select(0, places_of(first, count, tokens_per_row)));
}

void add_positions(std::span<const std::int64_t> places, std::int64_t width, const float* positions, float* x) {
    const auto count = static_cast<std::int64_t>(places.size());
    if (count == 0) return;
    const std::int64_t rows_used = *std::max_element(places.begin(), places.end()) + 1;
    view(x, {count, width}).add_(view(positions, {rows_used, width}).index_select(0, on_device(places)));
}

void embedding_backward(std::span<const std::int64_t> tokens, std::int64_t vocabulary, std::int64_t width,
                        const float* dx, Accumulator table) {
    const auto count = static_cast<std::int64_t>(tokens.size());
    begun(table, vocabulary, width).index_add_(0, on_device(tokens), view(dx, {count, width}));
}

void positions_backward(std::int64_t first, std::int64_t count, std::int64_t tokens_per_row, std::int64_t table_rows,
                        std::int64_t width, const float* dx, Accumulator positions) {
    begun(positions, table_rows, width)
        .index_add_(0, places_of(first, count, tokens_per_row), view(dx, {count, width}));
}

}  // namespace kiban::worker::aten
