// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/interchange.h"

#include <algorithm>
#include <map>
#include <span>
#include <string_view>

#include "coordinator/job/sharding.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

// '#' is the layer's number.
struct NameRule {
    std::string_view foreign;
    std::vector<std::string_view> ours;
    bool transposed = false;
};

std::span<const NameRule> llama_rules() {
    static const std::vector<NameRule> rules = {
        {"model.embed_tokens.weight", {"embedding.weight"}},
        {"model.layers.#.input_layernorm.weight", {"layers.#.attention_norm.weight"}},
        {"model.layers.#.self_attn.q_proj.weight", {"layers.#.attention.q.weight"}},
        {"model.layers.#.self_attn.k_proj.weight", {"layers.#.attention.k.weight"}},
        {"model.layers.#.self_attn.v_proj.weight", {"layers.#.attention.v.weight"}},
        {"model.layers.#.self_attn.o_proj.weight", {"layers.#.attention.o.weight"}},
        {"model.layers.#.post_attention_layernorm.weight", {"layers.#.mlp_norm.weight"}},
        {"model.layers.#.mlp.gate_proj.weight", {"layers.#.mlp.gate.weight"}},
        {"model.layers.#.mlp.up_proj.weight", {"layers.#.mlp.up.weight"}},
        {"model.layers.#.mlp.down_proj.weight", {"layers.#.mlp.down.weight"}},
        {"model.norm.weight", {"norm.weight"}},
        {kForeignHead, {"head.weight"}},
    };
    return rules;
}

std::span<const NameRule> gpt2_rules() {
    static const std::vector<NameRule> rules = {
        {"transformer.wte.weight", {"embedding.weight"}},
        {"transformer.wpe.weight", {"positions.weight"}},
        {"transformer.h.#.ln_1.weight", {"layers.#.attention_norm.weight"}},
        {"transformer.h.#.ln_1.bias", {"layers.#.attention_norm.bias"}},
        {"transformer.h.#.attn.c_attn.weight",
         {"layers.#.attention.q.weight", "layers.#.attention.k.weight", "layers.#.attention.v.weight"},
         true},
        {"transformer.h.#.attn.c_attn.bias",
         {"layers.#.attention.q.bias", "layers.#.attention.k.bias", "layers.#.attention.v.bias"}},
        {"transformer.h.#.attn.c_proj.weight", {"layers.#.attention.o.weight"}, true},
        {"transformer.h.#.attn.c_proj.bias", {"layers.#.attention.o.bias"}},
        {"transformer.h.#.ln_2.weight", {"layers.#.mlp_norm.weight"}},
        {"transformer.h.#.ln_2.bias", {"layers.#.mlp_norm.bias"}},
        {"transformer.h.#.mlp.c_fc.weight", {"layers.#.mlp.up.weight"}, true},
        {"transformer.h.#.mlp.c_fc.bias", {"layers.#.mlp.up.bias"}},
        {"transformer.h.#.mlp.c_proj.weight", {"layers.#.mlp.down.weight"}, true},
        {"transformer.h.#.mlp.c_proj.bias", {"layers.#.mlp.down.bias"}},
        {"transformer.ln_f.weight", {"norm.weight"}},
        {"transformer.ln_f.bias", {"norm.bias"}},
    };
    return rules;
}

std::span<const NameRule> rules_of(ModelLayout layout) {
    return layout == ModelLayout::llama ? llama_rules() : gpt2_rules();
}

bool is_per_layer(const NameRule& rule) { return rule.foreign.find('#') != std::string_view::npos; }

std::string numbered(std::string_view pattern, std::int64_t layer) {
    const auto hash = pattern.find('#');
    if (hash == std::string_view::npos) return std::string(pattern);
    return fmt::format("{}{}{}", pattern.substr(0, hash), layer, pattern.substr(hash + 1));
}

class Table {
  public:
    Table(const ModelConfig& model, std::int64_t vocabulary, std::int64_t sequence_length) {
        for (TensorSpec& spec : tensor_inventory(model, vocabulary, sequence_length)) specs_[spec.name] = spec;
    }

    void add(const NameRule& rule, std::int64_t layer) {
        ForeignTensor tensor{.name = numbered(rule.foreign, layer), .shape = {}, .ours = {}};
        tensor.transposed = rule.transposed;
        for (const std::string_view pattern : rule.ours) {
            auto node = specs_.extract(numbered(pattern, layer));
            KIBAN_CHECK(!node.empty(), "the model has no tensor '{}', or gives it away twice",
                        numbered(pattern, layer));
            if (tensor.ours.empty()) {
                tensor.shape = node.mapped().shape;
            } else {
                tensor.shape[0] += node.mapped().shape[0];
            }
            tensor.ours.push_back(std::move(node.mapped()));
        }
        if (rule.transposed) std::swap(tensor.shape.at(0), tensor.shape.at(1));
        tensors_.push_back(std::move(tensor));
    }

    std::vector<ForeignTensor> take() {
        KIBAN_CHECK(specs_.empty(), "the ecosystem has no name for '{}'", specs_.begin()->first);
        return std::move(tensors_);
    }

  private:
    std::map<std::string, TensorSpec> specs_;  // not yet given away
    std::vector<ForeignTensor> tensors_;
};

constexpr std::string_view kGpt2Prefix = "transformer.";
constexpr std::string_view kLlamaPrefix = "model.";

}  // namespace

std::vector<ForeignTensor> foreign_tensors(const ModelConfig& model, std::int64_t vocabulary,
                                           std::int64_t sequence_length) {
    Table table(model, vocabulary, sequence_length);
    const auto rules = rules_of(model.layout);
    const auto first = std::find_if(rules.begin(), rules.end(), is_per_layer);
    const auto after = std::find_if_not(first, rules.end(), is_per_layer);
    for (auto rule = rules.begin(); rule != first; ++rule) table.add(*rule, 0);
    for (std::int64_t layer = 0; layer < model.layers; ++layer) {
        for (auto rule = first; rule != after; ++rule) table.add(*rule, layer);
    }
    for (auto rule = after; rule != rules.end(); ++rule) table.add(*rule, 0);
    return table.take();
}

std::vector<float> transposed(const std::vector<float>& matrix, std::int64_t rows, std::int64_t columns) {
    KIBAN_CHECK(static_cast<std::int64_t>(matrix.size()) == rows * columns, "transpose {} elements as [{},{}]",
                matrix.size(), rows, columns);
    constexpr std::int64_t kTile = 32;  // both sides stay in the cache
    std::vector<float> result(matrix.size());
    for (std::int64_t row = 0; row < rows; row += kTile) {
        for (std::int64_t column = 0; column < columns; column += kTile) {
            for (std::int64_t i = row; i < std::min(row + kTile, rows); ++i) {
                for (std::int64_t j = column; j < std::min(column + kTile, columns); ++j)
                    result[static_cast<std::size_t>(j * rows + i)] = matrix[static_cast<std::size_t>(i * columns + j)];
            }
        }
    }
    return result;
}

std::string foreign_name_in_base_model(ModelLayout layout, const std::string& name) {
    const std::string_view prefix = layout == ModelLayout::llama ? kLlamaPrefix : kGpt2Prefix;
    return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

bool is_foreign_constant(ModelLayout layout, const std::string& name) {
    if (layout == ModelLayout::llama) return matches("*layers.*.self_attn.rotary_emb.inv_freq", name);
    return matches("*h.*.attn.bias", name) || matches("*h.*.attn.masked_bias", name);
}

}  // namespace kiban::coordinator
