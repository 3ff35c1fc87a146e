// SPDX-License-Identifier: Apache-2.0
// The ecosystem's names and configuration against ours, without files.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

#include "coordinator/job/interchange.h"
#include "coordinator/job/interchange_config.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

using nlohmann::json;

ForeignModel foreign_of(ModelLayout layout) {
    ForeignModel foreign;
    foreign.model.layout = layout;
    foreign.model.layers = 2;
    foreign.model.d_model = 24;
    foreign.model.heads = 4;
    foreign.model.kv_heads = layout == ModelLayout::llama ? 2 : 4;
    foreign.model.d_hidden = 40;
    foreign.model.norm_epsilon = 3e-6;
    if (layout == ModelLayout::llama) foreign.model.rope_theta = 500000.0;
    foreign.vocabulary = 257;
    foreign.sequence_length = 16;
    foreign.tied = layout == ModelLayout::gpt2;
    return foreign;
}

std::vector<ForeignTensor> tensors_of(ModelLayout layout) {
    const ForeignModel foreign = foreign_of(layout);
    return foreign_tensors(foreign.model, foreign.vocabulary, foreign.sequence_length);
}

const ForeignTensor& named(const std::vector<ForeignTensor>& tensors, const std::string& name) {
    const auto found =
        std::find_if(tensors.begin(), tensors.end(), [&](const ForeignTensor& tensor) { return tensor.name == name; });
    if (found == tensors.end()) throw InternalError("no tensor '{}'", name);
    return *found;
}

std::string refusal(const json& config) {
    try {
        foreign_model_of(config, "config.json");
    } catch (const ConfigError& error) {
        return error.what();
    }
    return "";
}

TEST(Interchange, EveryTensorOfOursIsInExactlyOneOfTheirs) {
    for (const ModelLayout layout : {ModelLayout::gpt2, ModelLayout::llama}) {
        const ForeignModel foreign = foreign_of(layout);
        std::multiset<std::string> given;
        std::int64_t elements = 0;
        for (const ForeignTensor& tensor : tensors_of(layout)) {
            for (const TensorSpec& spec : tensor.ours) given.insert(spec.name);
            elements += tensor.elements();
        }
        std::multiset<std::string> expected;
        for (const TensorSpec& spec : tensor_inventory(foreign.model, foreign.vocabulary, foreign.sequence_length)) {
            expected.insert(spec.name);
            elements -= spec.elements();
        }
        EXPECT_EQ(given, expected);
        EXPECT_EQ(elements, 0);
    }
}

// Names and shapes as the families' published checkpoints have them.
TEST(Interchange, LlamaHasTheFamilysNamesAndKeysOfItsOwnHeads) {
    const auto tensors = tensors_of(ModelLayout::llama);
    EXPECT_EQ(tensors.size(), 3U + 2 * 9);
    EXPECT_EQ(tensors.front().name, "model.embed_tokens.weight");
    EXPECT_EQ(tensors.back().name, "lm_head.weight");
    EXPECT_EQ(named(tensors, "model.layers.1.self_attn.q_proj.weight").shape, (checkpoint::Shape{24, 24}));
    EXPECT_EQ(named(tensors, "model.layers.1.self_attn.k_proj.weight").shape, (checkpoint::Shape{12, 24}));
    EXPECT_EQ(named(tensors, "model.layers.0.mlp.down_proj.weight").shape, (checkpoint::Shape{24, 40}));
    EXPECT_EQ(named(tensors, "model.layers.0.post_attention_layernorm.weight").ours.front().name,
              "layers.0.mlp_norm.weight");
}

TEST(Interchange, Gpt2StoresProjectionsTransposedAndItsHeadNowhere) {
    const auto tensors = tensors_of(ModelLayout::gpt2);
    EXPECT_EQ(tensors.size(), 4U + 2 * 12);
    const ForeignTensor& attention = named(tensors, "transformer.h.1.attn.c_attn.weight");
    EXPECT_EQ(attention.shape, (checkpoint::Shape{24, 72}));
    EXPECT_TRUE(attention.transposed);
    EXPECT_EQ(attention.ours.at(2).name, "layers.1.attention.v.weight");
    EXPECT_EQ(named(tensors, "transformer.h.0.attn.c_attn.bias").shape, (checkpoint::Shape{72}));
    EXPECT_EQ(named(tensors, "transformer.h.0.mlp.c_fc.weight").shape, (checkpoint::Shape{24, 40}));
    EXPECT_EQ(named(tensors, "transformer.h.0.mlp.c_proj.weight").shape, (checkpoint::Shape{40, 24}));
    EXPECT_FALSE(named(tensors, "transformer.wte.weight").transposed);
    for (const ForeignTensor& tensor : tensors) EXPECT_NE(tensor.name, kForeignHead);
}

TEST(Interchange, ATransposedMatrixHasItsElementsAtSwappedPlaces) {
    constexpr std::int64_t kRows = 37;  // more than a tile, and no multiple of one
    constexpr std::int64_t kColumns = 70;
    std::vector<float> matrix(kRows * kColumns);
    for (std::size_t i = 0; i < matrix.size(); ++i) matrix[i] = static_cast<float>(i);
    const std::vector<float> turned = transposed(matrix, kRows, kColumns);
    for (std::int64_t i = 0; i < kRows; ++i) {
        for (std::int64_t j = 0; j < kColumns; ++j)
            ASSERT_EQ(turned[static_cast<std::size_t>(j * kRows + i)], static_cast<float>(i * kColumns + j));
    }
    EXPECT_EQ(transposed(turned, kColumns, kRows), matrix);
}

TEST(Interchange, AConfigurationComesBackAsItWent) {
    for (const ModelLayout layout : {ModelLayout::gpt2, ModelLayout::llama}) {
        const ForeignModel sent = foreign_of(layout);
        const json config = json::parse(foreign_config(sent, "float32", 256).dump());
        const ForeignModel back = foreign_model_of(config, "config.json");
        EXPECT_EQ(back.model.layout, sent.model.layout);
        EXPECT_EQ(back.model.layers, sent.model.layers);
        EXPECT_EQ(back.model.d_model, sent.model.d_model);
        EXPECT_EQ(back.model.heads, sent.model.heads);
        EXPECT_EQ(back.model.kv_heads, sent.model.kv_heads);
        EXPECT_EQ(back.model.d_hidden, sent.model.d_hidden);
        EXPECT_EQ(back.model.norm_epsilon, sent.model.norm_epsilon);
        EXPECT_EQ(back.model.rope_theta, sent.model.rope_theta);
        EXPECT_EQ(back.vocabulary, sent.vocabulary);
        EXPECT_EQ(back.sequence_length, sent.sequence_length);
        EXPECT_EQ(back.tied, sent.tied);
        EXPECT_EQ(config["architectures"],
                  json::array({layout == ModelLayout::llama ? "LlamaForCausalLM" : "GPT2LMHeadModel"}));
        EXPECT_EQ(config["eos_token_id"], 256);
        EXPECT_EQ(config["torch_dtype"], "float32");
    }
}

TEST(Interchange, WhatIsNotInAConfigurationHasTheFamilysDefault) {
    const ForeignModel llama = foreign_model_of({{"model_type", "llama"},
                                                 {"hidden_size", 64},
                                                 {"intermediate_size", 160},
                                                 {"num_hidden_layers", 3},
                                                 {"num_attention_heads", 8},
                                                 {"vocab_size", 300},
                                                 {"rope_scaling", nullptr}},
                                                "config.json");
    EXPECT_EQ(llama.model.kv_heads, 8);
    EXPECT_EQ(llama.model.norm_epsilon, 1e-6);
    EXPECT_EQ(llama.model.rope_theta, 10000.0);
    EXPECT_EQ(llama.sequence_length, 2048);
    EXPECT_FALSE(llama.tied);
    const ForeignModel gpt2 = foreign_model_of({{"model_type", "gpt2"},
                                                {"n_embd", 64},
                                                {"n_layer", 3},
                                                {"n_head", 8},
                                                {"n_positions", 32},
                                                {"n_inner", nullptr},
                                                {"vocab_size", 300}},
                                               "config.json");
    EXPECT_EQ(gpt2.model.d_hidden, 256);
    EXPECT_TRUE(gpt2.tied);
    json newer = foreign_config(foreign_of(ModelLayout::llama), "float32", 256);
    newer.erase("rope_theta");
    newer["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 7000.0}};
    EXPECT_EQ(foreign_model_of(newer, "config.json").model.rope_theta, 7000.0);
}

TEST(Interchange, WhatOurModelsDoNotHaveIsRefusedByField) {
    const auto changed = [](ModelLayout layout, const char* key, const json& value) {
        json config = foreign_config(foreign_of(layout), "float32", 256);
        config[key] = value;
        return refusal(config);
    };
    const auto llama = [&](const char* key, const json& value) { return changed(ModelLayout::llama, key, value); };
    const auto gpt2 = [&](const char* key, const json& value) { return changed(ModelLayout::gpt2, key, value); };
    EXPECT_EQ(llama("model_type", "mistral"), "config.json: model_type: expected 'llama' or 'gpt2', found \"mistral\"");
    EXPECT_EQ(llama("hidden_act", "gelu"), "config.json: hidden_act: expected 'silu', found \"gelu\"");
    EXPECT_EQ(llama("attention_bias", true), "config.json: attention_bias: expected false, found true");
    EXPECT_EQ(llama("head_dim", 5),
              "config.json: head_dim: expected hidden_size / num_attention_heads = 24 / 4, found 5");
    EXPECT_EQ(llama("rms_norm_eps", 0), "config.json: rms_norm_eps: expected a number above 0, found 0");
    EXPECT_EQ(llama("hidden_size", -1), "config.json: hidden_size: expected an integer of 1 to 2147483648, found -1");
    EXPECT_EQ(llama("vocab_size", nullptr),
              "config.json: vocab_size: expected an integer of 1 to 2147483648, found nothing");
    EXPECT_NE(llama("rope_scaling", {{"rope_type", "llama3"}}).find("rope_scaling: expected null"), std::string::npos);
    EXPECT_NE(llama("rope_parameters", {{"rope_type", "yarn"}}).find("rope_type: expected 'default'"),
              std::string::npos);
    EXPECT_EQ(gpt2("activation_function", "relu"),
              "config.json: activation_function: expected 'gelu_new', found \"relu\"");
    EXPECT_EQ(gpt2("scale_attn_weights", false),
              "config.json: scale_attn_weights: expected true, which our models do, found false");
    EXPECT_EQ(gpt2("scale_attn_by_inverse_layer_idx", 1),
              "config.json: scale_attn_by_inverse_layer_idx: expected true or false, found 1");
    EXPECT_EQ(refusal(json::array()), "config.json: expected an object, found array");
}

TEST(Interchange, ATokenizerDescriptionNamesOursAndNoOther) {
    const json config = json::parse(foreign_tokenizer_config({"bytes", 257, 256, ""}, 16).dump());
    EXPECT_EQ(tokenizer_of_foreign_config(config), "bytes");
    EXPECT_EQ(tokenizer_of_foreign_config({{"tokenizer_class", "GPT2Tokenizer"}}), "");
    EXPECT_EQ(tokenizer_of_foreign_config(json::array()), "");
}

TEST(Interchange, ConstantsOfOlderFilesAreKnown) {
    EXPECT_TRUE(is_foreign_constant(ModelLayout::gpt2, "h.11.attn.bias"));
    EXPECT_TRUE(is_foreign_constant(ModelLayout::gpt2, "transformer.h.0.attn.masked_bias"));
    EXPECT_FALSE(is_foreign_constant(ModelLayout::gpt2, "h.0.attn.c_attn.bias"));
    EXPECT_TRUE(is_foreign_constant(ModelLayout::llama, "model.layers.3.self_attn.rotary_emb.inv_freq"));
    EXPECT_FALSE(is_foreign_constant(ModelLayout::llama, "model.layers.3.self_attn.q_proj.bias"));
}

}  // namespace
}  // namespace kiban::coordinator
