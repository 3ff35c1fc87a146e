// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "coordinator/job/layout.h"

namespace kiban::coordinator {
namespace {

ModelConfig model_of(ModelLayout layout) {
    ModelConfig model;
    model.layout = layout;
    model.layers = 5;
    model.d_model = 32;
    model.heads = 8;
    model.kv_heads = layout == ModelLayout::gpt2 ? 8 : 4;
    model.d_hidden = 64;
    return model;
}

constexpr std::int64_t kVocabulary = 61;
constexpr std::int64_t kTokens = 12;

TEST(Layout, ThePartsOfAllWorkersTileEveryTensor) {
    for (const ModelLayout shape : {ModelLayout::gpt2, ModelLayout::llama}) {
        const ModelConfig model = model_of(shape);
        for (const int tensor : {1, 2, 4}) {
            for (const int pipeline : {1, 2, 3, 5}) {
                std::map<std::string, std::vector<checkpoint::Box>> boxes;
                for (int stage = 0; stage < pipeline; ++stage) {
                    for (int rank = 0; rank < tensor; ++rank) {
                        const ModelCut cut{tensor, rank, pipeline, stage};
                        for (const LocalTensor& part : layout_of(model, kVocabulary, kTokens, cut, 2).tensors)
                            if (!part.copy && (!part.partial || rank == 0)) boxes[part.spec.name].push_back(part.box);
                    }
                }
                const auto inventory = tensor_inventory(model, kVocabulary, kTokens);
                EXPECT_EQ(boxes.size(), inventory.size());
                for (const TensorSpec& spec : inventory)
                    EXPECT_EQ(checkpoint::tiling_fault(spec.shape, boxes[spec.name]), std::nullopt) << spec.name;
            }
        }
    }
}

TEST(Layout, BucketsFollowEachOtherAndEveryDataWorkerOwnsWholeBlocks) {
    for (const int data : {1, 2, 3, 8}) {
        const Layout layout = layout_of(model_of(ModelLayout::gpt2), kVocabulary, kTokens, {}, data);
        std::int64_t offset = 0;
        std::int64_t elements = 0;
        for (const Bucket& bucket : layout.buckets) {
            EXPECT_EQ(bucket.offset, offset);
            EXPECT_EQ(bucket.padded % (bucket.block * data), 0);
            EXPECT_LT(bucket.padded - bucket.elements, bucket.block * data);
            offset += bucket.padded;
            elements += bucket.elements;
            for (std::size_t i = bucket.first; i < bucket.last; ++i)
                EXPECT_EQ(layout.tensors[i].offset + layout.tensors[i].elements(), layout.tensors[i + 1].offset);
        }
        EXPECT_EQ(layout.padded, offset);
        EXPECT_EQ(layout.elements, elements);
    }
}

TEST(Layout, ABucketIsALayerOrATensorBesideThem) {
    std::vector<std::string> names;
    for (const Bucket& bucket : layout_of(model_of(ModelLayout::llama), kVocabulary, kTokens, {}, 1).buckets)
        names.push_back(bucket.name);
    EXPECT_EQ(names, (std::vector<std::string>{"embedding.weight", "layers.0", "layers.1", "layers.2", "layers.3",
                                               "layers.4", "norm", "head.weight"}));
}

TEST(Layout, TheLastStageOfATiedModelHoldsACopyOfTheEmbedding) {
    const Layout last = layout_of(model_of(ModelLayout::gpt2), kVocabulary, kTokens, {1, 0, 2, 1}, 1);
    EXPECT_EQ(last.tensors.front().spec.name, "embedding.weight");
    EXPECT_TRUE(last.tensors.front().copy);
    EXPECT_TRUE(last.buckets.front().copy);
    const Layout untied = layout_of(model_of(ModelLayout::llama), kVocabulary, kTokens, {1, 0, 2, 1}, 1);
    EXPECT_EQ(untied.tensors.front().spec.name, "layers.3.attention_norm.weight");
}

TEST(Layout, EarlierStagesTakeTheLayersThatAreLeftOver) {
    EXPECT_EQ(layers_of_stage(5, 0, 2).size(), 3);
    EXPECT_EQ(layers_of_stage(5, 1, 2).begin, 3);
    EXPECT_EQ(layers_of_stage(5, 1, 2).end, 5);
}

TEST(Layout, ABlockDoesNotDependOnTheNumberOfWorkers) {
    const ModelConfig model = model_of(ModelLayout::gpt2);
    const Layout one = layout_of(model, kVocabulary, kTokens, {}, 1);
    const Layout eight = layout_of(model, kVocabulary, kTokens, {}, 8);
    for (std::size_t i = 0; i < one.buckets.size(); ++i) EXPECT_EQ(one.buckets[i].block, eight.buckets[i].block);
}

}  // namespace
}  // namespace kiban::coordinator
