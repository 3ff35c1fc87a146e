// SPDX-License-Identifier: Apache-2.0
// What a planned worker exchanges in a step, axis by axis, against closed forms written out here.
#include <gtest/gtest.h>

#include <vector>

#include "tests/coordinator/small_plan.h"

namespace kiban::coordinator {
namespace {

// The sum over rows of that group and operation, of those whose `what` begins so.
struct Sum {
    std::uint64_t calls = 0;
    Bytes bytes = 0;
    bool operator==(const Sum&) const = default;
};
void PrintTo(const Sum& sum, std::ostream* out) { *out << sum.calls << " calls, " << sum.bytes << " bytes"; }

Sum traffic(const PlanInput& input, const std::string& group, const std::string& operation,
            const std::string& what = "", std::size_t stage = 0) {
    Sum sum;
    const Plan plan = plan_of(input);
    for (const TrafficPlan& row : plan.stages.at(stage).traffic) {
        if (row.group != group || row.operation != operation || !row.what.starts_with(what)) continue;
        sum.calls += row.calls;
        sum.bytes += row.bytes;
    }
    return sum;
}

// --- Traffic of the data axis ---

TEST(PlannedTraffic, StagesBelowTwoSumEachBucketOnceAStep) {
    for (PlanInput input : {small_gpt2(4), small_llama(4)}) {
        const std::uint64_t buckets = layout_on(input).buckets.size();
        const Sum expected{buckets, flat_bytes(input) / 4 * 3};
        for (const int zero : {0, 1}) {
            input.parallel.zero = zero;
            EXPECT_EQ(traffic(input, "data", "reduce_scatter"), expected);
            EXPECT_EQ(traffic(input, "data", "all_gather"), expected);
        }
        EXPECT_EQ(traffic(input, "data", "all_gather", "updated parameters"), expected);
    }
}

TEST(PlannedTraffic, StageTwoSumsAfterEachMicroBatchAndGathersOnce) {
    for (PlanInput input : {small_gpt2(4), small_llama(4)}) {
        input.parallel.zero = 2;
        const std::uint64_t buckets = layout_on(input).buckets.size();
        const Bytes once = flat_bytes(input) / 4 * 3;
        EXPECT_EQ(traffic(input, "data", "reduce_scatter"), (Sum{2 * buckets, 2 * once}));
        EXPECT_EQ(traffic(input, "data", "all_gather"), (Sum{buckets, once}));
    }
}

TEST(PlannedTraffic, StageThreeGathersLayersAndNormTwiceAndTheTablesForEachUse) {
    PlanInput input = small_llama(4);
    input.parallel.zero = 3;
    const auto gathered = [&](const char* bucket) { return bucket_bytes(input, bucket) / 4 * 3; };
    const Bytes twice = 4 * gathered("layers.0") + gathered("norm");
    EXPECT_EQ(traffic(input, "data", "all_gather"),
              (Sum{2 * (2 * 5 + 2), 2 * (2 * twice + gathered("embedding.weight") + gathered("head.weight"))}));
    EXPECT_EQ(traffic(input, "data", "reduce_scatter"), (Sum{2 * 7, 2 * flat_bytes(input) / 4 * 3}));
}

TEST(PlannedTraffic, ATiedEmbeddingIsGatheredForTheHeadAgain) {
    PlanInput input = small_gpt2(4);
    input.parallel.zero = 3;
    const auto gathered = [&](const char* bucket) { return bucket_bytes(input, bucket) / 4 * 3; };
    const Bytes layers_and_norm = 4 * gathered("layers.0") + gathered("norm");
    EXPECT_EQ(traffic(input, "data", "all_gather"),
              (Sum{2 * (2 * 5 + 3),
                   2 * (2 * layers_and_norm + 2 * gathered("embedding.weight") + gathered("positions.weight"))}));
}

TEST(PlannedTraffic, ReplicasSumTheOwnPartsOnceAStep) {
    for (PlanInput input : {small_gpt2(8), small_llama(8)}) {
        input.parallel.replicate = 4;
        const std::uint64_t buckets = layout_on(input).buckets.size();
        const Bytes half = flat_bytes(input) / 2;
        for (int zero = 0; zero <= 2; ++zero) {  // one micro-batch a worker
            input.parallel.zero = zero;
            EXPECT_EQ(traffic(input, "shard", "reduce_scatter"), (Sum{buckets, half}));
            EXPECT_EQ(traffic(input, "shard", "all_gather"), (Sum{buckets, half}));
            EXPECT_EQ(traffic(input, "replica", "all_reduce"), (Sum{buckets, 2 * half / 4 * 3}));
        }
        input.train.batch_rows = 32;
        input.parallel.zero = 3;
        EXPECT_EQ(traffic(input, "shard", "reduce_scatter"), (Sum{2 * buckets, 2 * half}));
        EXPECT_EQ(traffic(input, "replica", "all_reduce"), (Sum{buckets, 2 * half / 4 * 3}));
        EXPECT_EQ(traffic(input, "data", "all_gather"), Sum{});
        EXPECT_EQ(traffic(input, "data", "all_reduce"), (Sum{1, 7 * 8}));  // the number of targets, over all eight
    }
}

TEST(PlannedTraffic, TheEndsOfAPipelineOfReplicasSumTheOwnPartOfOneReplica) {
    PlanInput input = small_gpt2(8);
    input.parallel.pipeline = 2;
    input.parallel.replicate = 2;
    EXPECT_EQ(traffic(input, "tied", "all_reduce", "", 0), (Sum{1, bucket_bytes(input, "embedding.weight") / 2}));
}

TEST(PlannedTraffic, SmallSumsAreCountedToo) {
    const PlanInput input = small_gpt2(4);
    EXPECT_EQ(traffic(input, "data", "all_reduce"), (Sum{1, 3 * 8}));        // rank 0 owns the one integer
    EXPECT_EQ(traffic(input, "world", "all_reduce"), (Sum{1, 16 + 3 * 8}));  // three doubles over four ranks
}

TEST(PlannedTraffic, TheFixedReductionSumsLossesAndSquaresOfBlocks) {
    PlanInput input = small_gpt2(4);
    input.train.reduction = "fixed";
    Bytes blocks = 0;
    for (const Bucket& bucket : layout_on(input).buckets)
        blocks += static_cast<Bytes>((bucket.elements + bucket.block - 1) / bucket.block);
    const auto all_reduce = [](Bytes count) {
        const Bytes own = (count + 3) / 4;
        return 8 * (count - own + 3 * own);
    };
    EXPECT_EQ(traffic(input, "data", "all_reduce", "small: losses"), (Sum{2, all_reduce(8) + all_reduce(blocks)}));
}

// --- Traffic of the other axes ---

TEST(PlannedTraffic, TensorRanksGatherAndSumTwiceALayerAndPass) {
    PlanInput input = small_llama(2);
    input.parallel.tensor = 2;
    const Bytes half = kFloat * 64 * 64 / 2;  // of [tokens, D]
    const std::uint64_t passes = 8 * 4;       // micro-batches times layers
    for (const auto& [how, calls] :
         std::vector<std::pair<ActivationCheckpointing, std::uint64_t>>{{ActivationCheckpointing::none, 4},
                                                                        {ActivationCheckpointing::selective, 5},
                                                                        {ActivationCheckpointing::full, 6}}) {
        input.train.activation_checkpointing = how;
        EXPECT_EQ(traffic(input, "tensor", "all_gather"), (Sum{passes * calls, passes * calls * half}));
        EXPECT_EQ(traffic(input, "tensor", "reduce_scatter"), (Sum{passes * calls, passes * calls * half}));
    }
    EXPECT_EQ(traffic(input, "data", "reduce_scatter"), Sum{});
}

TEST(PlannedTraffic, TensorRanksSumTheGradientsOfWhatEachHoldsWhole) {
    PlanInput input = small_llama(2);
    input.parallel.tensor = 2;
    const Bytes partial = 2 * 257 * 64 + 4 * 2 * 64 + 64;  // tables, norms
    EXPECT_EQ(traffic(input, "tensor", "all_reduce"), (Sum{7, kFloat * partial}));
    input.parallel.zero = 2;
    EXPECT_EQ(traffic(input, "tensor", "all_reduce"), (Sum{8 * 7, 8 * kFloat * partial}));
}

TEST(PlannedTraffic, NeighbouringStagesExchangeActivationsAndTheirGradients) {
    PlanInput input = small_llama(3);
    input.parallel.pipeline = 3;
    const Sum one_way{8, 8 * kFloat * 64 * 64};
    const Sum both_ways{16, 2 * one_way.bytes};
    EXPECT_EQ(traffic(input, "pipeline", "send", "activations", 0), one_way);
    EXPECT_EQ(traffic(input, "pipeline", "send", "", 0), one_way);
    EXPECT_EQ(traffic(input, "pipeline", "send", "", 1), both_ways);
    EXPECT_EQ(traffic(input, "pipeline", "receive", "", 1), both_ways);
    EXPECT_EQ(traffic(input, "pipeline", "send", "gradients", 2), one_way);
    EXPECT_EQ(traffic(input, "pipeline", "receive", "activations", 2), one_way);
}

TEST(PlannedTraffic, TheEndsOfAPipelineSumTheirOwnPartOfATiedEmbedding) {
    PlanInput input = small_gpt2(8);
    input.parallel.pipeline = 4;
    EXPECT_EQ(traffic(input, "tied", "all_reduce", "", 0), (Sum{1, bucket_bytes(input, "embedding.weight") / 2}));
    EXPECT_EQ(traffic(input, "tied", "all_reduce", "", 3), traffic(input, "tied", "all_reduce", "", 0));
    EXPECT_EQ(traffic(input, "tied", "all_reduce", "", 1), Sum{});
    EXPECT_EQ(traffic(small_gpt2(8), "tied", "all_reduce"), Sum{});
}

TEST(PlannedTraffic, WhatIsReceivedIsNotCountedAsSent) {
    PlanInput input = small_llama(2);
    input.parallel.pipeline = 2;
    const Plan plan = plan_of(input);
    EXPECT_EQ(plan.stages[0].sent_bytes(), 8 * kFloat * 64 * 64 + traffic(input, "world", "all_reduce").bytes);
}

}  // namespace
}  // namespace kiban::coordinator
