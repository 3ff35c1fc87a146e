// SPDX-License-Identifier: Apache-2.0
// What Muon adds to a plan, and takes from it, against closed forms written out here.
//
// A llama layer of small_plan.h in the order of its bucket, D = 64, 4 heads of 16, 2 key/value heads, F = 192: norm D;
// q, o [64, 64], k, v [32, 64]; norm D; gate, up [192, 64], down [64, 192]. 49280 elements, 49152 of them in matrices:
// a multiple of 64, so it has no padding for up to four data ranks.
#include <gtest/gtest.h>

#include <vector>

#include "tests/coordinator/small_plan.h"

namespace kiban::coordinator {
namespace {

constexpr Bytes kMatrices = (64 + 32 + 32 + 64) * 64 + 3 * 192 * 64;
constexpr Bytes kLayer = kMatrices + 2 * 64;
constexpr Bytes kLayers = 4;

PlanInput with_muon(PlanInput input) {
    input.train.optimizer.name = "muon";
    return input;
}

MemoryPlan memory(const PlanInput& input) { return plan_of(input).stages.at(0).memory; }

Bytes optimizer(PlanInput input, int zero) {
    input.parallel.zero = zero;
    return memory(input).optimizer;
}

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

TEST(PlannedMuon, AMatrixOfABlockHasOneFloatAnElementAndEverythingElseTwo) {
    const PlanInput llama = small_llama();
    EXPECT_EQ(memory(with_muon(llama)).optimizer, 2 * flat_bytes(llama) - kFloat * kLayers * kMatrices);
    const PlanInput gpt2 = small_gpt2();
    EXPECT_EQ(memory(with_muon(gpt2)).optimizer, 2 * flat_bytes(gpt2) - kFloat * kLayers * 12 * 64 * 64);
}

// A quarter of a layer is 12320 elements. The first two ranks have a norm each, the others matrices alone.
TEST(PlannedMuon, ItsStateIsSharedOutAndTheWorkerWithMostVectorsIsPlanned) {
    const PlanInput input = with_muon(small_llama(4));
    const Bytes whole = 2 * flat_bytes(input) - kFloat * kLayers * kMatrices;
    EXPECT_EQ(optimizer(input, 0), whole);
    const Bytes outside = 2 * (flat_bytes(input) - kFloat * kLayers * kLayer) / 4;
    for (int zero = 1; zero <= 3; ++zero)
        EXPECT_EQ(optimizer(input, zero), outside + kFloat * kLayers * (kLayer / 4 + 64)) << zero;
}

TEST(PlannedMuon, ATensorRankHasTheStateOfItsPart) {
    PlanInput input = with_muon(small_llama(2));
    input.parallel.tensor = 2;
    EXPECT_EQ(memory(input).optimizer, 2 * flat_bytes(input) - kFloat * kLayers * kMatrices / 2);
}

TEST(PlannedMuon, TheUpdateKeepsALayerAMatrixAndTheWorkOfOrthogonalisingIt) {
    const Bytes matrix = 192 * 64;
    const Bytes work = matrix + 2 * 64 * 64;
    for (const int workers : {1, 2, 4}) {
        const MemoryPlan plan = memory(with_muon(small_llama(workers)));
        EXPECT_EQ(plan.muon, kFloat * (kLayer + matrix + work)) << workers;
        EXPECT_EQ(plan.buffers(), plan.buckets + plan.tree + plan.muon + plan.windows + plan.rows);
    }
    EXPECT_EQ(memory(small_llama()).muon, 0U);
}

TEST(PlannedMuon, TensorRanksEachHoldTheWholeLayerForTheUpdate) {
    PlanInput input = with_muon(small_llama(2));
    input.parallel.tensor = 2;
    const Bytes here = kMatrices / 2 + 2 * 64;
    EXPECT_EQ(bucket_bytes(input, "layers.0"), kFloat * here);
    EXPECT_EQ(memory(input).muon, kFloat * (2 * here + 2 * 192 * 64 + 2 * 64 * 64));
}

TEST(PlannedMuon, TheWorkersOfALayerShareOneMoreWindow) {
    const MemoryPlan with = memory(with_muon(small_llama(4)));
    const MemoryPlan without = memory(small_llama(4));
    EXPECT_EQ(with.windows, without.windows / 2 * 3);  // data and world, and the layer
    EXPECT_EQ(memory(with_muon(small_llama(1))).windows, 0U);
}

TEST(PlannedMuon, MomentaAreGatheredAndUpdatesScatteredLayerByLayer) {
    for (PlanInput input : {with_muon(small_gpt2(4)), with_muon(small_llama(4))}) {
        const Sum expected{4, 4 * bucket_bytes(input, "layers.0") / 4 * 3};
        for (int zero = 1; zero <= 3; ++zero) {
            input.parallel.zero = zero;
            EXPECT_EQ(traffic(input, "layer", "all_gather"), expected) << zero;
            EXPECT_EQ(traffic(input, "layer", "reduce_scatter"), expected) << zero;
            EXPECT_EQ(traffic(input, "data", "all_gather", "orthogonal"), Sum{}) << zero;
        }
    }
    EXPECT_EQ(traffic(small_llama(4), "layer", "all_gather"), Sum{});
}

TEST(PlannedMuon, WhoUpdatesEverythingGathersNoMomentaButTheUpdates) {
    PlanInput input = with_muon(small_llama(4));
    input.parallel.zero = 0;
    const Sum expected{4, 4 * bucket_bytes(input, "layers.0") / 4 * 3};
    EXPECT_EQ(traffic(input, "layer", "all_gather"), Sum{});
    EXPECT_EQ(traffic(input, "layer", "reduce_scatter"), expected);
    EXPECT_EQ(traffic(input, "data", "all_gather", "orthogonal"), expected);
}

TEST(PlannedMuon, TensorRanksExchangeTheLayersOfTheirStage) {
    PlanInput input = with_muon(small_llama(8));
    input.parallel.tensor = 2;
    input.parallel.pipeline = 2;
    for (const std::size_t stage : {std::size_t{0}, std::size_t{1}}) {
        const Bytes layer = 2 * bucket_bytes(input, "layers.0");  // two tensor ranks
        EXPECT_EQ(traffic(input, "layer", "all_gather", "", stage), (Sum{2, 2 * layer / 4 * 3}));
        EXPECT_EQ(traffic(input, "layer", "reduce_scatter", "", stage), (Sum{2, 2 * layer / 4 * 3}));
    }
}

}  // namespace
}  // namespace kiban::coordinator
