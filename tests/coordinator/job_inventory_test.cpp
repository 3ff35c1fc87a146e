// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "coordinator/job/inventory.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

ModelConfig gpt2(std::int64_t layers, std::int64_t d_model, std::int64_t heads) {
    ModelConfig model;
    model.layers = layers;
    model.d_model = d_model;
    model.heads = heads;
    return model;
}

ModelConfig llama(std::int64_t layers, std::int64_t d_model, std::int64_t heads, std::int64_t kv_heads) {
    ModelConfig model = gpt2(layers, d_model, heads);
    model.layout = ModelLayout::llama;
    model.kv_heads = kv_heads;
    return model;
}

std::vector<std::string> names_of(const std::vector<TensorSpec>& specs) {
    std::vector<std::string> names;
    for (const TensorSpec& spec : specs) names.push_back(spec.name);
    return names;
}

const TensorSpec& find(const std::vector<TensorSpec>& specs, const std::string& name) {
    const auto spec = std::find_if(specs.begin(), specs.end(), [&](const TensorSpec& s) { return s.name == name; });
    if (spec == specs.end()) throw std::runtime_error("no tensor " + name);
    return *spec;
}

TEST(Inventory, AGpt2LayerStandsInTheOrderOfTheFlatBuffer) {
    const std::vector<std::string> expected = {"embedding.weight",
                                               "positions.weight",
                                               "layers.0.attention_norm.weight",
                                               "layers.0.attention_norm.bias",
                                               "layers.0.attention.q.weight",
                                               "layers.0.attention.k.weight",
                                               "layers.0.attention.v.weight",
                                               "layers.0.attention.q.bias",
                                               "layers.0.attention.k.bias",
                                               "layers.0.attention.v.bias",
                                               "layers.0.attention.o.weight",
                                               "layers.0.attention.o.bias",
                                               "layers.0.mlp_norm.weight",
                                               "layers.0.mlp_norm.bias",
                                               "layers.0.mlp.up.weight",
                                               "layers.0.mlp.up.bias",
                                               "layers.0.mlp.down.weight",
                                               "layers.0.mlp.down.bias",
                                               "norm.weight",
                                               "norm.bias"};
    EXPECT_EQ(names_of(tensor_inventory(gpt2(1, 8, 2), 257, 16)), expected);
}

TEST(Inventory, ALlamaLayerHasNoBiasesAndItsOwnHead) {
    const std::vector<std::string> expected = {
        "embedding.weight",
        "layers.0.attention_norm.weight",
        "layers.0.attention.q.weight",
        "layers.0.attention.k.weight",
        "layers.0.attention.v.weight",
        "layers.0.attention.o.weight",
        "layers.0.mlp_norm.weight",
        "layers.0.mlp.gate.weight",
        "layers.0.mlp.up.weight",
        "layers.0.mlp.down.weight",
        "norm.weight",
        "head.weight",
    };
    EXPECT_EQ(names_of(tensor_inventory(llama(1, 8, 2, 1), 257, 16)), expected);
}

TEST(Inventory, GroupedKeysAndValuesHaveOneRowPerKeyChannel) {
    const auto specs = tensor_inventory(llama(2, 96, 6, 2), 300, 16);
    EXPECT_EQ(find(specs, "layers.1.attention.q.weight").shape, (std::vector<std::int64_t>{96, 96}));
    EXPECT_EQ(find(specs, "layers.1.attention.k.weight").shape, (std::vector<std::int64_t>{32, 96}));  // 2 heads of 16
    EXPECT_EQ(find(specs, "layers.1.attention.v.weight").shape, (std::vector<std::int64_t>{32, 96}));
    EXPECT_EQ(find(specs, "layers.1.mlp.up.weight").shape, (std::vector<std::int64_t>{256, 96}));
    EXPECT_EQ(find(specs, "layers.1.mlp.down.weight").shape, (std::vector<std::int64_t>{96, 256}));
    EXPECT_EQ(find(specs, "head.weight").shape, (std::vector<std::int64_t>{300, 96}));
}

TEST(Inventory, TheHiddenWidthOfLlamaIsEightThirdsRoundedUpTo32) {
    for (const auto& [d_model, hidden] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {96, 256}, {128, 352}, {384, 1024}, {512, 1376}, {4096, 10944}}) {
        EXPECT_EQ(llama(1, d_model, 1, 1).resolved_hidden(), hidden) << d_model;
    }
}

TEST(Inventory, MatricesDecayAndResidualOutputsStartSmaller) {
    const auto specs = tensor_inventory(gpt2(8, 64, 4), 257, 32);
    for (const TensorSpec& spec : specs) {
        EXPECT_EQ(spec.decay, spec.shape.size() == 2) << spec.name;
        const bool residual = spec.name.ends_with("attention.o.weight") || spec.name.ends_with("mlp.down.weight");
        if (spec.shape.size() == 2) {
            EXPECT_EQ(spec.init, Init::normal) << spec.name;
            EXPECT_DOUBLE_EQ(spec.deviation, residual ? 0.005 : 0.02) << spec.name;  // sqrt(2 * 8) = 4
        } else {
            EXPECT_EQ(spec.init, spec.name.ends_with(".bias") ? Init::zeros : Init::ones) << spec.name;
        }
    }
}

TEST(Inventory, MuonUpdatesTheMatricesOfTheBlocksAndNothingElse) {
    for (const auto& model : {gpt2(2, 32, 4), llama(2, 32, 4, 2)}) {
        std::vector<std::string> names;
        for (const TensorSpec& spec : tensor_inventory(model, 257, 16))
            if (muon_updates(spec)) names.push_back(spec.name);
        std::vector<std::string> expected;
        for (const std::string layer : {"layers.0.", "layers.1."}) {
            for (const char* part : {"attention.q", "attention.k", "attention.v", "attention.o"})
                expected.push_back(layer + part + ".weight");
            if (model.layout == ModelLayout::llama) expected.push_back(layer + "mlp.gate.weight");
            for (const char* part : {"mlp.up", "mlp.down"}) expected.push_back(layer + part + ".weight");
        }
        EXPECT_EQ(names, expected);
    }
}

TEST(Inventory, NamesAreUnique) {
    const auto names = names_of(tensor_inventory(llama(3, 32, 4, 2), 257, 16));
    EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
}

// Radford et al. 2019's smallest model as its published weights have it: 124 439 808 parameters.
TEST(ModelSizes, Gpt2SmallHasItsPublishedNumberOfParameters) {
    const ModelSize size = model_size(gpt2(12, 768, 12), 50257, 1024);
    EXPECT_EQ(size.total, 124'439'808U);
    EXPECT_EQ(size.non_embedding, 124'439'808U - 50257U * 768U - 1024U * 768U);
}

// Touvron et al. 2023: 32 layers, 4096 channels, F 11008, 32000 tokens: 6 738 415 616 parameters.
TEST(ModelSizes, Llama7BHasItsPublishedNumberOfParameters) {
    ModelConfig model = llama(32, 4096, 32, 32);
    model.d_hidden = 11008;
    const ModelSize size = model_size(model, 32000, 2048);
    EXPECT_EQ(size.total, 6'738'415'616U);
    EXPECT_EQ(size.non_embedding, 6'738'415'616U - 2U * 32000U * 4096U);
}

TEST(ModelSizes, FlopsPerTokenFollowTheFormula) {
    const ModelSize size = model_size(gpt2(4, 128, 4), 257, 64);
    const double blocks =
        4.0 * (12.0 * 128 * 128 + 13.0 * 128) + 2.0 * 128;  // weights, biases and norms; the last norm
    EXPECT_EQ(static_cast<double>(size.non_embedding), blocks);
    EXPECT_EQ(size.flops_per_token, 6 * blocks + 6.0 * 257 * 128 + 12.0 * 4 * 64 * 128);
}

TEST(Inventory, AVocabularyOfNothingIsAnInternalError) {
    EXPECT_THROW(tensor_inventory(gpt2(1, 8, 2), 0, 16), InternalError);
}

}  // namespace
}  // namespace kiban::coordinator
