// SPDX-License-Identifier: Apache-2.0
#include "worker/model/block.h"

#include <string>
#include <utility>

#include "monitoring/error.h"
#include "worker/model/activation_observer.h"

namespace kiban::worker {

using coordinator::ModelConfig;
using coordinator::ModelLayout;

NormParameters norm_parameters(const ModelConfig& config, Parameters& parameters, const std::string& name) {
    NormParameters norm;
    norm.weight = ParameterView(parameters, name + ".weight", name + ".weight");
    if (config.layout == ModelLayout::gpt2) norm.bias = ParameterView(parameters, name + ".bias", name + ".bias");
    norm.epsilon = static_cast<float>(config.norm_epsilon);
    return norm;
}

Block::Block(const ModelConfig& config, std::int64_t layer, Parameters& parameters, LinearFactory& linears,
             std::shared_ptr<const RotaryTable> rotary, bool recompute_mlp)
    : config_(config), layer_(layer), rotary_(std::move(rotary)), recompute_mlp_(recompute_mlp) {
    const std::string name = fmt::format("layers.{}", layer);
    const std::string attention = name + ".attention";
    const std::string mlp = name + ".mlp";
    const bool gpt2 = config.layout == ModelLayout::gpt2;
    attention_norm_ = norm_parameters(config, parameters, name + ".attention_norm");
    mlp_norm_ = norm_parameters(config, parameters, name + ".mlp_norm");
    qkv_ = linears.make(LinearCut::split_outputs, {attention + ".q", attention + ".k", attention + ".v"}, gpt2);
    attention_out_ = linears.make(LinearCut::split_inputs, {attention + ".o"}, gpt2);
    if (gpt2)
        up_ = linears.make(LinearCut::split_outputs, {mlp + ".up"}, true);
    else
        up_ = linears.make(LinearCut::split_outputs, {mlp + ".gate", mlp + ".up"}, false);
    down_ = linears.make(LinearCut::split_inputs, {mlp + ".down"}, gpt2);
}

at::Tensor Block::attend(const at::Tensor& x, std::int64_t rows, std::int64_t tokens_per_row,
                         const std::int32_t* positions, ActivationObserver* observer) {
    at::Tensor qkv = qkv_->forward(x);
    // A sharded layer returns the heads of this rank: the same fraction of query and of key/value heads.
    const std::int64_t all_heads = config_.heads + 2 * config_.resolved_kv_heads();
    const std::int64_t here = qkv.size(1) / config_.head_size();
    const AttentionShape shape = {.batch = rows,
                                  .tokens = tokens_per_row,
                                  .heads = config_.heads * here / all_heads,
                                  .kv_heads = config_.resolved_kv_heads() * here / all_heads,
                                  .head_size = config_.head_size(),
                                  .positions = positions};
    // Rotary positions are relative: those in the row do for the tokens of one document.
    if (rotary_ != nullptr) qkv = rotary(qkv, rotary_, tokens_per_row, shape.heads + shape.kv_heads);
    if (observer != nullptr) observer->attention(layer_, qkv, shape);
    return attention(qkv, shape);
}

at::Tensor Block::forward(const at::Tensor& x, std::int64_t rows, std::int64_t tokens_per_row,
                          const std::int32_t* positions, ActivationObserver* observer) {
    const auto [stream, normed] = norm(x, attention_norm_);
    const at::Tensor attended =
        attention_out_->forward_add(attend(normed, rows, tokens_per_row, positions, observer), stream);
    if (!recompute_mlp_) return mlp(attended);
    return recompute(attended, [this](const at::Tensor& in) { return mlp(in); });
}

at::Tensor Block::mlp(const at::Tensor& x) {
    const auto [stream, normed] = norm(x, mlp_norm_);
    const at::Tensor hidden = up_->forward(normed);
    return down_->forward_add(config_.layout == ModelLayout::gpt2 ? gelu(hidden) : swiglu(hidden), stream);
}

}  // namespace kiban::worker
