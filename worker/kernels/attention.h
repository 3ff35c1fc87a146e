// SPDX-License-Identifier: Apache-2.0
// Causal scaled dot-product attention over packed rows [q heads; k heads; v heads], grouped-query heads included.
//
// Query tiles against all keys up to the tile's end: nothing above the diagonal tile is computed, and no [T, T] matrix
// is stored; the backward pass recomputes probabilities from the saved logsumexp (Dao et al. 2022). Parallel over batch
// x head, each head in one thread, so the results do not depend on the number of OpenMP threads. Scratch per thread:
// two tiles of 64 x T floats; on bf16 also the head's tensors, [T, K] each, widened. With `positions` a tile begins at
// the first key of its first query's document, so that short documents cost less.
#pragma once

#include <cstdint>

#include "worker/kernels/bf16.h"

namespace kiban::worker {

struct AttentionShape {
    std::int64_t batch = 0;
    std::int64_t tokens = 0;  // T, per batch row
    std::int64_t heads = 0;
    std::int64_t kv_heads = 0;  // divides heads; query head h reads key/value head h / (heads / kv_heads)
    std::int64_t head_size = 0;
    /// [B * T], on the host, or null: of each token, how many tokens of its document stand before it in the row. It
    /// attends to those and itself, where it otherwise does to all before it in the row.
    const std::int32_t* positions = nullptr;

    /// The first token of batch row `row` that token `query` of it attends to. Never less than that of the query
    /// before.
    std::int64_t first_key(std::int64_t row, std::int64_t query) const {
        return positions == nullptr ? 0 : query - positions[row * tokens + query];
    }
    std::int64_t packed_width() const { return (heads + 2 * kv_heads) * head_size; }
    std::int64_t out_width() const { return heads * head_size; }
};

/// qkv [B*T, packed_width] -> out [B*T, out_width], logsumexp [B, heads, T]. Scores are scaled by head_size^-1/2.
void attention_forward(const AttentionShape& shape, const float* qkv, float* out, float* logsumexp);

/// dqkv [B*T, packed_width], every element written.
void attention_backward(const AttentionShape& shape, const float* qkv, const float* out, const float* logsumexp,
                        const float* dout, float* dqkv);

/// The same on bf16: q, k, v and dout are widened; scores, probabilities, all products and the sums of dk and dv are
/// fp32; out and dqkv are rounded once.
void attention_forward(const AttentionShape& shape, const Bf16* qkv, Bf16* out, float* logsumexp);
void attention_backward(const AttentionShape& shape, const Bf16* qkv, const Bf16* out, const float* logsumexp,
                        const Bf16* dout, Bf16* dqkv);

}  // namespace kiban::worker
