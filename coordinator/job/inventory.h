// SPDX-License-Identifier: Apache-2.0
// Every tensor of a model by name, without Torch: `kiban` plans and refuses with it, the worker builds its modules from
// it, checkpoints store by it.
//
// Names: embedding.weight [V,D]; positions.weight [T,D] (gpt2); layers.N.attention_norm.{weight,bias};
// layers.N.attention.{q,k,v,o}.{weight,bias}; layers.N.mlp_norm.*; layers.N.mlp.{up,down}.* (gpt2),
// layers.N.mlp.{gate,up,down}.weight (llama); norm.*; head.weight (llama; gpt2 ties it). Matrices are [out, in]. q,k,v
// (and gate,up) of a layer follow each other, weights first and then biases, so that a flat buffer in this order holds
// [q;k;v] as one matrix.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coordinator/job/model_config.h"

namespace kiban::coordinator {

enum class Init { zeros, ones, normal };

struct TensorSpec {
    std::string name;
    std::vector<std::int64_t> shape;
    bool decay = false;  // weight decay applies (2-D tensors)
    Init init = Init::normal;
    double deviation = 0.0;  // normal: 0.02, residual outputs (attention.o, mlp.down) 0.02 / sqrt(2 layers)
    std::int64_t elements() const;
};

/// In the order of the flat buffer. `vocabulary` is V as resolved, `sequence_length` T.
std::vector<TensorSpec> tensor_inventory(const ModelConfig& model, std::int64_t vocabulary,
                                         std::int64_t sequence_length);

/// Whether Muon updates this tensor: the matrices of the blocks, each by itself. Embeddings, positions, head and
/// vectors are AdamW's (Jordan et al. 2024).
bool muon_updates(const TensorSpec& spec);

struct ModelSize {
    std::uint64_t total = 0;
    std::uint64_t non_embedding = 0;
    double flops_per_token = 0;  // 6 N_nonemb + 6 V D + 12 L T D
};
ModelSize model_size(const ModelConfig& model, std::int64_t vocabulary, std::int64_t sequence_length);

}  // namespace kiban::coordinator
