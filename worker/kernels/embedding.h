// SPDX-License-Identifier: Apache-2.0
// Token and position embeddings: rows looked up, and their gradients added row by row (never a dense [V, D] temporary).
//
// Use the OpenMP threads of the process; the results do not depend on their number: a vocabulary row's gradient is
// summed by one thread in the order of the batch. Tokens must be checked by the caller.
#pragma once

#include <cstdint>
#include <span>

#include "worker/kernels/accumulator.h"

namespace kiban::worker {

/// x[i] = table[tokens[i]] + positions[(first + i) % tokens_per_row], rows of `width`; positions may be null. `first`
/// is the place of tokens[0] among the tokens of the batch.
void embedding_forward(std::span<const std::int64_t> tokens, std::int64_t first, std::int64_t tokens_per_row,
                       std::int64_t width, const float* table, const float* positions, float* x);

/// Adds row places[i] of `positions` to x[i]: for tokens whose positions do not follow from their places in the row.
/// The gradient is embedding_backward() of the places.
void add_positions(std::span<const std::int64_t> places, std::int64_t width, const float* positions, float* x);

/// Adds dx's rows to the table's gradient [vocabulary, width]; with beta 0 the whole table gradient is set to zero
/// first.
void embedding_backward(std::span<const std::int64_t> tokens, std::int64_t vocabulary, std::int64_t width,
                        const float* dx, Accumulator table);

/// Adds `count` rows of dx to the gradient of `positions` [table_rows, width]; with beta 0 all of it is set to zero
/// first. Row i is of position (first + i) % tokens_per_row.
void positions_backward(std::int64_t first, std::int64_t count, std::int64_t tokens_per_row, std::int64_t table_rows,
                        std::int64_t width, const float* dx, Accumulator positions);

}  // namespace kiban::worker
