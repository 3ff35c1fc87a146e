// SPDX-License-Identifier: Apache-2.0
// Section [model] of the run file.
#pragma once

#include <cstdint>

namespace kiban::coordinator {

enum class ModelLayout {
    gpt2,   // LayerNorm, learned positions, GELU (tanh form), biases, head tied to the embedding (Radford et al. 2019)
    llama,  // RMSNorm, rotary positions (half-split), SwiGLU, grouped-query heads, no biases (Touvron et al. 2023)
};

enum class AttentionScope {
    row,       // to all tokens before it in the row
    document,  // to those of its document alone, whose positions count from its first token in the row
};

struct ModelConfig {
    ModelLayout layout = ModelLayout::gpt2;
    std::int64_t layers = 4;
    std::int64_t d_model = 128;  // D
    std::int64_t heads = 4;      // H; head size K = D / H
    std::int64_t kv_heads = 0;   // llama: key/value heads, divides heads; 0: as many as heads
    std::int64_t d_hidden = 0;   // F; 0: 4 D (gpt2), 8/3 D rounded up to a multiple of 32 (llama)
    double norm_epsilon = 1e-5;
    double rope_theta = 10000.0;                     // llama
    AttentionScope attention = AttentionScope::row;  // what a token attends to
    std::int64_t vocabulary =
        0;  // V, rows of the embedding; 0: the tokenizer's. Larger pads (benchmarks), smaller is refused

    std::int64_t head_size() const { return d_model / heads; }
    std::int64_t resolved_kv_heads() const { return kv_heads == 0 ? heads : kv_heads; }
    std::int64_t resolved_hidden() const {
        if (d_hidden != 0) return d_hidden;
        return layout == ModelLayout::gpt2 ? 4 * d_model : (8 * d_model / 3 + 31) / 32 * 32;
    }
};

}  // namespace kiban::coordinator
