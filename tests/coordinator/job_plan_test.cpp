// SPDX-License-Identifier: Apache-2.0
// Plans of small models against closed forms written out here: parameters, arithmetic, memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "monitoring/error.h"
#include "tests/coordinator/small_plan.h"

namespace kiban::coordinator {
namespace {

MemoryPlan memory(const PlanInput& input, std::size_t stage = 0) { return plan_of(input).stages.at(stage).memory; }

// Floats that each token of a micro-batch keeps in a layer, its input included, where nothing is cut.
Bytes kept_a_token(const ModelConfig& model) {
    const auto width = static_cast<Bytes>(model.d_model);
    const auto packed = static_cast<Bytes>((model.heads + 2 * model.kv_heads) * model.head_size());
    const auto active = static_cast<Bytes>(model.d_hidden);
    const Bytes hidden = model.layout == ModelLayout::llama ? 2 * active : active;
    const Bytes first_half = width + 2 + width + packed + width + static_cast<Bytes>(model.heads);
    return first_half + width + 2 + width + hidden + active;
}

// --- Parameters and arithmetic ---

TEST(PlannedModel, OneWorkerHasEveryParameterAndAllTheFlops) {
    for (const PlanInput& input : {small_gpt2(), small_llama()}) {
        const Plan plan = plan_of(input);
        ASSERT_EQ(plan.stages.size(), 1U);
        EXPECT_EQ(plan.stages[0].parameters, plan.size.total);
        EXPECT_EQ(plan.tokens, 16U * 32U);
        EXPECT_EQ(plan.micro_batches, 8U);
        EXPECT_DOUBLE_EQ(plan.stages[0].model_flops, 16 * 32 * plan.size.flops_per_token);
        EXPECT_EQ(plan.recomputed_flops(), 0);
        EXPECT_TRUE(plan.stages[0].traffic.empty());
    }
}

TEST(PlannedModel, TheFlopsOfAllWorkersAreThoseOfTheModelHoweverItIsCut) {
    for (PlanInput input : {small_gpt2(8), small_llama(8)}) {
        input.parallel.tensor = 2;
        input.parallel.pipeline = 2;
        const Plan plan = plan_of(input);
        double sum = 0;
        for (const StagePlan& stage : plan.stages) sum += stage.model_flops * plan.data * plan.tensor;
        EXPECT_NEAR(sum, plan.model_flops(), 1e-9 * sum);
    }
}

TEST(PlannedModel, RecomputingAddsTheForwardPassOfWhatIsRunAgain) {
    PlanInput input = small_llama();
    const double layers = 4.0 * (64.0 + (64 + 32 + 32 + 64) * 64.0 + 64.0 + 3 * 192 * 64.0);
    const double halves = 4.0 * (64.0 + 3 * 192 * 64.0);
    input.train.activation_checkpointing = ActivationCheckpointing::selective;
    EXPECT_DOUBLE_EQ(plan_of(input).recomputed_flops(), 512 * 2 * halves);
    input.train.activation_checkpointing = ActivationCheckpointing::full;
    EXPECT_DOUBLE_EQ(plan_of(input).recomputed_flops(), 512 * (2 * layers + 4.0 * 4 * 32 * 64));
}

TEST(PlannedModel, ATiedHeadIsHeldByBothEndsOfAPipeline) {
    PlanInput input = small_gpt2(2);
    input.parallel.pipeline = 2;
    const Plan plan = plan_of(input);
    EXPECT_EQ(plan.stages[0].parameters + plan.stages[1].parameters, plan.size.total + 257U * 64U);
    EXPECT_EQ(plan.stages[0].layers.size(), 2);
}

// --- Memory that stays ---

TEST(PlannedMemory, EachZeroStageSharesOutOneKindMore) {
    for (PlanInput input : {small_gpt2(4), small_llama(4)}) {
        const Bytes whole = flat_bytes(input);
        const Bytes own = whole / 4;
        for (int zero = 0; zero <= 3; ++zero) {
            input.parallel.zero = zero;
            const MemoryPlan plan = memory(input);
            EXPECT_EQ(plan.weights, zero < 3 ? whole : own) << zero;
            EXPECT_EQ(plan.gradients, zero < 2 ? whole : own) << zero;
            EXPECT_EQ(plan.optimizer, 2 * (zero < 1 ? whole : own)) << zero;
            EXPECT_EQ(plan.buckets > 0, zero >= 2) << zero;
        }
    }
}

TEST(PlannedMemory, ReplicasShareOutAsManyWorkersAsEachHas) {
    for (PlanInput input : {small_gpt2(8), small_llama(8)}) {
        input.parallel.replicate = 4;
        const Bytes whole = flat_bytes(input);
        for (int zero = 0; zero <= 3; ++zero) {
            input.parallel.zero = zero;
            const MemoryPlan plan = memory(input);
            EXPECT_EQ(plan.weights, zero < 3 ? whole : whole / 2) << zero;
            EXPECT_EQ(plan.gradients, zero < 2 ? whole : whole / 2) << zero;
            EXPECT_EQ(plan.optimizer, 2 * (zero < 1 ? whole : whole / 2)) << zero;
            EXPECT_EQ(plan.buckets > 0, zero >= 2) << zero;
        }
    }
}

TEST(PlannedMemory, ATensorRankHoldsItsPartOfTheMatricesAndAllOfTheRest) {
    PlanInput input = small_llama(2);
    input.parallel.tensor = 2;
    const std::uint64_t matrices = 4 * ((64 + 32 + 32 + 64) * 64 + 3 * 192 * 64);
    const std::uint64_t rest = 4 * 2 * 64 + 64 + 2 * 257 * 64;
    EXPECT_EQ(plan_of(input).stages[0].parameters, matrices / 2 + rest);
}

TEST(PlannedMemory, Zero2NeedsTheGradientsOfATiedEmbeddingAndOfOneLayerAtOnce) {
    PlanInput input = small_gpt2(2);
    input.parallel.zero = 2;
    // Free of the norm, the layers share one buffer; the positions come when it is free.
    EXPECT_EQ(memory(input).buckets,
              bucket_bytes(input, "embedding.weight") + bucket_bytes(input, "norm") + bucket_bytes(input, "layers.0"));
    PlanInput untied = small_llama(2);
    untied.parallel.zero = 2;
    EXPECT_EQ(memory(untied).buckets,
              bucket_bytes(untied, "head.weight") + bucket_bytes(untied, "norm") + bucket_bytes(untied, "layers.0"));
}

TEST(PlannedMemory, Zero3HoldsTwoGatheredLayersAndTheGradientsOfOne) {
    PlanInput input = small_llama(2);
    input.parallel.zero = 3;
    input.model.layers = 8;
    const Bytes layer = bucket_bytes(input, "layers.0");
    const Bytes head = bucket_bytes(input, "head.weight");
    const Bytes buckets = memory(input).buckets;
    EXPECT_GE(buckets, 3 * layer);
    EXPECT_LE(buckets, 3 * layer + 2 * head + bucket_bytes(input, "norm") * 3);
    input.model.layers = 16;
    EXPECT_EQ(memory(input).buckets, buckets);  // however many layers
}

TEST(PlannedMemory, TheFixedTreeHasABufferForEachDoublingOfTheMicroBatches) {
    PlanInput input = small_gpt2();
    EXPECT_EQ(memory(input).tree, 0U);
    input.train.reduction = "fixed";
    for (const auto& [batch, levels] :
         std::vector<std::pair<Bytes, Bytes>>{{2, 0}, {4, 1}, {6, 2}, {8, 2}, {10, 3}, {16, 3}}) {
        input.train.batch_rows = batch;
        EXPECT_EQ(memory(input).tree, levels * flat_bytes(input)) << batch;
    }
}

TEST(PlannedMemory, RowsAreTheIdsOfAStepAndOfAnEvaluationBatch) {
    PlanInput input = small_gpt2(2);
    input.train.eval_micro_batch_rows = 4;
    EXPECT_EQ(memory(input).rows, 16U * 32U * (8U + 4U));
    const PlanInput llama = small_llama();
    EXPECT_EQ(memory(llama).rows, 16U * 32U * (16U + 2U) + 4U * 32U * 16U);  // and the rotary table
}

TEST(PlannedMemory, EachGroupOnANodeHasAWindow) {
    const Bytes window = 3 * (512U << 10) + 2 * 4096;
    EXPECT_EQ(memory(small_gpt2()).windows, 0U);
    EXPECT_EQ(memory(small_gpt2(2)).windows, 2 * window);  // data, world
    PlanInput input = small_gpt2(8);
    input.parallel.tensor = 2;
    input.parallel.pipeline = 2;
    EXPECT_EQ(memory(input).windows, 4 * window);  // data, tensor, tied, world
    input.model.layout = ModelLayout::llama;
    EXPECT_EQ(memory(input).windows, 3 * window);
}

TEST(PlannedMemory, TheSumIsThatOfTheKinds) {
    const MemoryPlan plan = memory(small_llama(2));
    EXPECT_EQ(plan.buffers(), plan.buckets + plan.tree + plan.windows + plan.rows);
    EXPECT_EQ(plan.total(), plan.weights + plan.gradients + plan.optimizer + plan.activations + plan.working +
                                plan.buffers() + plan.process);
    EXPECT_EQ(plan.process, kProcessBytes + kLibraryBytes / 2);
}

// --- Activations ---

// After the last layer: its output, the norm's statistics, the gradient of its output, a double for the loss.
constexpr Bytes kEndsAToken = kFloat * (64 + 2 + 64) + 8;

TEST(PlannedActivations, EveryLayerKeepsWhatItsFunctionsSave) {
    for (const PlanInput& input : {small_gpt2(), small_llama()}) {
        const Bytes tokens = 2 * 32;
        EXPECT_EQ(memory(input).activations, tokens * (kFloat * 4 * kept_a_token(input.model) + kEndsAToken));
    }
}

TEST(PlannedActivations, SelectiveCheckpointingKeepsTheFirstHalfAndTheInputOfTheSecond) {
    for (PlanInput input : {small_gpt2(), small_llama()}) {
        input.train.activation_checkpointing = ActivationCheckpointing::selective;
        const Bytes active = static_cast<Bytes>(input.model.d_hidden);
        const Bytes second = 2 + 64 + active + (input.model.layout == ModelLayout::llama ? 2 * active : active);
        EXPECT_EQ(memory(input).activations, 64 * (kFloat * 4 * (kept_a_token(input.model) - second) + kEndsAToken));
    }
}

TEST(PlannedActivations, FullCheckpointingKeepsTheInputOfEachLayer) {
    for (PlanInput input : {small_gpt2(), small_llama()}) {
        input.train.activation_checkpointing = ActivationCheckpointing::full;
        EXPECT_EQ(memory(input).activations, 64 * (kFloat * 4 * 64 + kEndsAToken));
    }
}

TEST(PlannedActivations, CheckpointingLowersThePeakOfADeepModel) {
    PlanInput input = small_llama();
    input.model.layers = 32;
    std::vector<Bytes> peaks;
    for (const auto how :
         {ActivationCheckpointing::full, ActivationCheckpointing::selective, ActivationCheckpointing::none}) {
        input.train.activation_checkpointing = how;
        const MemoryPlan plan = memory(input);
        peaks.push_back(plan.activations + plan.working);
    }
    EXPECT_LT(peaks[0], peaks[1]);
    EXPECT_LT(peaks[1], peaks[2]);
}

TEST(PlannedActivations, TensorRanksShareTheTokensBetweenTheMatrices) {
    PlanInput input = small_gpt2(2);
    input.parallel.tensor = 2;
    // Of all tokens: the gathered inputs of two matrices, and half of the features in between.
    const Bytes all = 2 * 64 + (192 + 64 + 4 + 256 + 256) / 2;
    const Bytes here = 64 + 2 + 64 + 2;
    EXPECT_EQ(memory(input).activations, kFloat * 4 * (64 * all + 32 * here) + 32 * kEndsAToken);
}

TEST(PlannedActivations, AnEarlyStageKeepsAMicroBatchForEachStageToCome) {
    PlanInput input = small_llama(4);
    input.parallel.pipeline = 4;
    const Plan plan = plan_of(input);
    const Bytes layer = kFloat * 64 * kept_a_token(input.model);
    for (std::size_t stage = 0; stage < 3; ++stage) {
        EXPECT_EQ(plan.stages[stage].under_way, 4 - static_cast<int>(stage));
        EXPECT_EQ(plan.stages[stage].memory.activations, (4 - stage) * (layer + kFloat * 64 * 64)) << stage;
    }
    EXPECT_EQ(plan.stages[3].memory.activations, layer + 64 * kEndsAToken);
    input.train.batch_rows = 4;  // fewer micro-batches than stages
    EXPECT_EQ(plan_of(input).stages[0].under_way, 2);
}

TEST(PlannedActivations, TheLogitsOfAChunkCountWhereTheyAreThePeak) {
    PlanInput input = small_llama();
    input.vocabulary = 50000;
    EXPECT_EQ(memory(input).working, kFloat * 64 * (50000 + 64));  // and the normed input of the head
    input.train.micro_batch_rows = 16;
    input.train.eval_micro_batch_rows = 16;
    input.vocabulary = 1 << 20;  // 4 MiB a token: 32 tokens a chunk of 128 MiB
    EXPECT_EQ(memory(input).working, (128U << 20) + kFloat * 512 * 64);
}

TEST(PlannedActivations, LargeEvaluationBatchesCanBeThePeak) {
    PlanInput input = small_llama();
    const Bytes usual = memory(input).working;
    input.train.eval_micro_batch_rows = 512;
    const MemoryPlan plan = memory(input);
    EXPECT_GT(plan.working, 10 * usual);
    EXPECT_GE(plan.activations + plan.working, kFloat * 512 * 32 * kTable);
}

// --- bf16 ---

PlanInput in_bf16(PlanInput input) {
    input.train.precision = "bf16";
    return input;
}

TEST(PlannedBf16, WeightsHaveARoundedCopyOfEveryMatrixThatIsMultiplied) {
    const auto rounded = [](const PlanInput& input) { return memory(in_bf16(input)).weights - memory(input).weights; };
    const Bytes layers = bucket_bytes(small_gpt2(), "layers.0") / 2 * 4;
    EXPECT_EQ(rounded(small_gpt2()), layers + bucket_bytes(small_gpt2(), "embedding.weight") / 2);
    EXPECT_EQ(rounded(small_llama()),
              bucket_bytes(small_llama(), "layers.0") / 2 * 4 + bucket_bytes(small_llama(), "head.weight") / 2);
    PlanInput shared = small_llama(2);
    shared.parallel.zero = 3;  // one at a time
    EXPECT_EQ(rounded(shared), std::max(bucket_bytes(shared, "layers.0"), bucket_bytes(shared, "head.weight")) / 2);
    PlanInput stages = small_gpt2(2);
    stages.parallel.pipeline = 2;  // the first has the embedding, and no head
    EXPECT_EQ(memory(in_bf16(stages), 0).weights - memory(stages, 0).weights, bucket_bytes(stages, "layers.0"));
    for (PlanInput input : {small_gpt2(), small_llama()}) {
        EXPECT_EQ(memory(in_bf16(input)).gradients, memory(input).gradients);
        EXPECT_EQ(memory(in_bf16(input)).optimizer, memory(input).optimizer);
    }
}

TEST(PlannedBf16, WhatStandsBetweenTheProductsIsKeptInHalfTheMemory) {
    for (const PlanInput& input : {small_gpt2(), small_llama()}) {
        // fp32: the inputs of both halves, statistics of two norms, logsumexp.
        const Bytes wide = 2 * 64 + 2 * 2 + 4;
        const Bytes halved = kept_a_token(input.model) - wide;
        EXPECT_EQ(memory(in_bf16(input)).activations, 64 * (4 * (kFloat * wide + 2 * halved) + kEndsAToken));
    }
    PlanInput cut = small_gpt2(2);
    cut.parallel.tensor = 2;
    const Bytes halved = 2 * 64 + (192 + 64 + 256 + 256) / 2;  // of all tokens
    const Bytes here = 64 + 2 + 64 + 2;
    EXPECT_EQ(memory(in_bf16(cut)).activations,
              4 * (64 * (2 * halved + kFloat * 4 / 2) + kFloat * 32 * here) + 32 * kEndsAToken);
}

TEST(PlannedBf16, FullCheckpointingKeepsTheFp32InputOfEachLayer) {
    PlanInput input = in_bf16(small_llama());
    input.train.activation_checkpointing = ActivationCheckpointing::full;
    EXPECT_EQ(memory(input).activations, 64 * (kFloat * 4 * 64 + kEndsAToken));
}

// --- What cannot be planned ---

std::string refusal(const PlanInput& input) {
    try {
        plan_of(input);
    } catch (const ConfigError& error) {
        return error.what();
    }
    return "nothing was refused";
}

TEST(PlanRefusals, DegreesThatDoNotDivideAreNamedWithTheNumbers) {
    PlanInput input = small_llama(4);
    input.parallel.tensor = 4;
    EXPECT_EQ(refusal(input), "parallel.tensor = 4 does not divide model.kv_heads = 2");
    input = small_llama(5);
    input.parallel.pipeline = 5;
    EXPECT_NE(refusal(input).find("model.layers = 4"), std::string::npos);
    input = small_llama(3);
    input.parallel.pipeline = 2;
    EXPECT_NE(refusal(input).find("cannot arrange 3 workers: expected a multiple of 2"), std::string::npos);
    EXPECT_NE(refusal(small_llama(3)).find("train.batch_rows = 16"), std::string::npos);
}

}  // namespace
}  // namespace kiban::coordinator
