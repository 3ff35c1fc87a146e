// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/inventory.h"

#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

constexpr double kDeviation = 0.02;  // Radford et al. 2019

// Collects the tensors of one model in the order of the flat buffer.
class Builder {
  public:
    explicit Builder(const ModelConfig& model)
        : model_(model),
          bias_(model.layout == ModelLayout::gpt2),
          // 2 * layers outputs are added to the residual stream; scaled so, its variance does not grow with depth.
          residual_deviation_(kDeviation / std::sqrt(2.0 * static_cast<double>(model.layers))) {}

    void matrix(std::string name, std::int64_t out, std::int64_t in, double deviation = kDeviation) {
        specs_.push_back({std::move(name), {out, in}, true, Init::normal, deviation});
    }
    void vector(std::string name, std::int64_t size, Init init) {
        specs_.push_back({std::move(name), {size}, false, init, 0.0});
    }
    void norm(const std::string& name) {
        vector(name + ".weight", model_.d_model, Init::ones);
        if (bias_) vector(name + ".bias", model_.d_model, Init::zeros);
    }
    void attention(const std::string& name) {
        const std::int64_t key_rows = model_.resolved_kv_heads() * model_.head_size();
        matrix(name + ".q.weight", model_.d_model, model_.d_model);
        matrix(name + ".k.weight", key_rows, model_.d_model);
        matrix(name + ".v.weight", key_rows, model_.d_model);
        if (bias_) {
            vector(name + ".q.bias", model_.d_model, Init::zeros);
            vector(name + ".k.bias", key_rows, Init::zeros);
            vector(name + ".v.bias", key_rows, Init::zeros);
        }
        matrix(name + ".o.weight", model_.d_model, model_.d_model, residual_deviation_);
        if (bias_) vector(name + ".o.bias", model_.d_model, Init::zeros);
    }
    void mlp(const std::string& name) {
        const std::int64_t hidden = model_.resolved_hidden();
        if (model_.layout == ModelLayout::llama) matrix(name + ".gate.weight", hidden, model_.d_model);
        matrix(name + ".up.weight", hidden, model_.d_model);
        if (bias_) vector(name + ".up.bias", hidden, Init::zeros);
        matrix(name + ".down.weight", model_.d_model, hidden, residual_deviation_);
        if (bias_) vector(name + ".down.bias", model_.d_model, Init::zeros);
    }
    std::vector<TensorSpec> take() { return std::move(specs_); }

  private:
    const ModelConfig& model_;
    bool bias_;
    double residual_deviation_;
    std::vector<TensorSpec> specs_;
};

// What the forward pass looks up or multiplies once per token at the ends of the network.
bool is_embedding(const std::string& name) {
    return name == "embedding.weight" || name == "positions.weight" || name == "head.weight";
}

}  // namespace

std::int64_t TensorSpec::elements() const {
    return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

std::vector<TensorSpec> tensor_inventory(const ModelConfig& model, std::int64_t vocabulary,
                                         std::int64_t sequence_length) {
    KIBAN_CHECK(vocabulary > 0 && sequence_length > 0 && model.layers > 0 && model.heads > 0,
                "vocabulary {}, sequence length {}, layers {}, heads {}", vocabulary, sequence_length, model.layers,
                model.heads);
    Builder builder(model);
    builder.matrix("embedding.weight", vocabulary, model.d_model);
    if (model.layout == ModelLayout::gpt2) builder.matrix("positions.weight", sequence_length, model.d_model);
    for (std::int64_t layer = 0; layer < model.layers; ++layer) {
        const std::string name = fmt::format("layers.{}", layer);
        builder.norm(name + ".attention_norm");
        builder.attention(name + ".attention");
        builder.norm(name + ".mlp_norm");
        builder.mlp(name + ".mlp");
    }
    builder.norm("norm");
    if (model.layout == ModelLayout::llama) builder.matrix("head.weight", vocabulary, model.d_model);
    return builder.take();
}

bool muon_updates(const TensorSpec& spec) { return spec.shape.size() == 2 && spec.name.starts_with("layers."); }

ModelSize model_size(const ModelConfig& model, std::int64_t vocabulary, std::int64_t sequence_length) {
    ModelSize size;
    for (const TensorSpec& spec : tensor_inventory(model, vocabulary, sequence_length)) {
        const auto elements = static_cast<std::uint64_t>(spec.elements());
        size.total += elements;
        if (!is_embedding(spec.name)) size.non_embedding += elements;
    }
    const auto d_model = static_cast<double>(model.d_model);
    size.flops_per_token = 6.0 * static_cast<double>(size.non_embedding) +
                           6.0 * static_cast<double>(vocabulary) * d_model +
                           12.0 * static_cast<double>(model.layers) * static_cast<double>(sequence_length) * d_model;
    return size;
}

}  // namespace kiban::coordinator
