// SPDX-License-Identifier: Apache-2.0
// What one training step exchanges on every axis, against closed forms: calls and bytes by group and operation.
//
// Of a micro-batch of t tokens, T tensor ranks, D data ranks, P stages, M micro-batches a data rank, width d and the
// padded buckets b of the layout (4 bytes an element; a rank's part of b is b/D, with R replicas b/(D/R), below with D
// for D/R):
//     data      a bucket's gather or scatter sends (D - 1) b/D. Stage 0 and 1: each bucket scattered once and gathered
//               once; 2: scattered M times, gathered once; 3: scattered M times, and gathered M times for the forward
//               pass (a tied embedding twice where it is read at both ends) and M times more for the backward pass of
//               layers and last norm
//     replica   b/D is summed once a step over R replicas, at every stage: 2 (R - 1)/R b/D; the data axis is then
//     "shard" tensor    of t d elements a gather or scatter sends (T - 1)/T. A layer has two cut pairs: two gathers and
//     two
//               scatters forward, the same backward, the same again where it is recomputed. What all tensor ranks hold
//               whole, h elements of a bucket, is summed before each scatter over the data axis: about 2 (T - 1)/T h
//     pipeline  t d/T elements of activations to the next stage and of gradients to the one before, M times
//     tied      b/D of the embedding's bucket, summed once by two ranks
//     layer     Muon: the T b elements of a layer's buckets, of which each of the N = T D ranks owns 1/N: a gather and
//     a
//               scatter send (N - 1) b/D each. Where every data rank updates all of b, a gather is needed for the
//               tensor ranks' parts alone, and the data ranks gather the updates
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <string>
#include <utility>

#include "coordinator/job/layout.h"
#include "coordinator/job/plan.h"
#include "tests/support/mpi_world.h"
#include "tests/worker/parallel_training.h"
#include "worker/comm/traffic.h"
#include "worker/train/passes.h"

namespace kiban::worker {
namespace {

using coordinator::ActivationCheckpointing;
using coordinator::Bucket;
using coordinator::ModelLayout;

constexpr std::uint64_t kFloat = 4;
constexpr std::uint64_t kWidth = 32;  // the model of parallel_training.cpp
constexpr std::uint64_t kLayers = 4;
constexpr auto kRowTokens = static_cast<std::uint64_t>(kTokens);

using Exchanged = std::map<std::string, std::pair<std::uint64_t, std::uint64_t>>;  // "group operation": calls, bytes

class ClosedForms {
  public:
    ClosedForms(const Recipe& recipe, int world_rank)
        : recipe_(recipe),
          tensor_rank_(static_cast<std::uint64_t>(world_rank % recipe.tensor)),
          stage_(world_rank / recipe.tensor % recipe.pipeline),
          micro_batches_(kRows / count(recipe.data)) {
        const ModelSetup setup = setup_of(recipe);
        const coordinator::ModelCut cut = {.tensor = recipe.tensor,
                                           .tensor_rank = world_rank % recipe.tensor,
                                           .pipeline = recipe.pipeline,
                                           .stage = stage_};
        buckets_ =
            coordinator::layout_of(setup.model, setup.vocabulary, setup.sequence_length, cut, recipe.data).buckets;
    }

    Exchanged all() {
        if (recipe_.data > 1) along_data();
        if (recipe_.tensor > 1) along_tensor();
        if (recipe_.pipeline > 1) along_pipeline();
        if (recipe_.muon && recipe_.data / recipe_.replicate * recipe_.tensor > 1) along_layers();
        return std::move(all_);
    }

  private:
    static std::uint64_t count(int degree) { return static_cast<std::uint64_t>(degree); }
    bool gpt2() const { return recipe_.layout == ModelLayout::gpt2; }
    bool first() const { return stage_ == 0; }
    bool last() const { return stage_ == recipe_.pipeline - 1; }
    static bool is_layer(const Bucket& bucket) { return bucket.name.starts_with("layers."); }

    void add(const std::string& what, std::uint64_t calls, std::uint64_t bytes_of_each) {
        if (calls == 0) return;
        all_[what].first += calls;
        all_[what].second += calls * bytes_of_each;
    }

    // Times that stage 3 gathers a bucket for a micro-batch.
    std::uint64_t uses(const Bucket& bucket) const {
        if (is_layer(bucket) || bucket.name == "norm") return 2;
        return bucket.name == "embedding.weight" && gpt2() && first() && last() ? 2 : 1;
    }

    std::uint64_t shards() const { return count(recipe_.data / recipe_.replicate); }

    void along_data() {
        const std::string axis = recipe_.replicate == 1 ? "data " : "shard ";
        for (const Bucket& bucket : buckets_) {
            const std::uint64_t own = static_cast<std::uint64_t>(bucket.padded) / shards() * kFloat;
            if (shards() > 1) {
                add(axis + "reduce_scatter", recipe_.zero >= 2 ? micro_batches_ : 1, (shards() - 1) * own);
                add(axis + "all_gather", recipe_.zero == 3 ? micro_batches_ * uses(bucket) : 1, (shards() - 1) * own);
            }
            const std::uint64_t replicas = count(recipe_.replicate);
            if (replicas > 1) add("replica all_reduce", 1, 2 * (replicas - 1) * (own / replicas));
        }
    }

    // Elements of a bucket that no tensor rank gives away: norms, and biases of what was summed over them.
    std::uint64_t held_whole(const Bucket& bucket) const {
        if (is_layer(bucket)) return (gpt2() ? 6 : 2) * kWidth;
        if (bucket.name == "norm") return (gpt2() ? 2 : 1) * kWidth;
        if (bucket.name == "positions.weight") return kRowTokens * kWidth;
        return static_cast<std::uint64_t>(kVocabulary) * kWidth;  // embedding, head
    }

    void along_tensor() {
        const std::uint64_t ranks = count(recipe_.tensor);
        const std::uint64_t passes = micro_batches_ * kLayers / count(recipe_.pipeline);
        std::uint64_t again = 0;
        if (recipe_.checkpointing == ActivationCheckpointing::selective) again = 1;  // the second pair
        if (recipe_.checkpointing == ActivationCheckpointing::full) again = 2;
        const std::uint64_t bytes = (ranks - 1) * kRowTokens * kWidth / ranks * kFloat;
        add("tensor all_gather", passes * (4 + again), bytes);
        add("tensor reduce_scatter", passes * (4 + again), bytes);
        for (const Bucket& bucket : buckets_) {
            const std::uint64_t whole = held_whole(bucket);
            const std::uint64_t own = whole / ranks + (tensor_rank_ < whole % ranks ? 1 : 0);
            add("tensor all_reduce", recipe_.zero >= 2 ? micro_batches_ : 1,
                (whole - own + (ranks - 1) * own) * kFloat);
        }
    }

    void along_pipeline() {
        const std::uint64_t neighbours = (first() ? 0U : 1U) + (last() ? 0U : 1U);
        const std::uint64_t bytes = kRowTokens * kWidth / count(recipe_.tensor) * kFloat;
        add("pipeline send", neighbours * micro_batches_, bytes);
        add("pipeline receive", neighbours * micro_batches_, bytes);
        if (!gpt2() || (!first() && !last())) return;
        for (const Bucket& bucket : buckets_) {
            if (bucket.name == "embedding.weight")
                add("tied all_reduce", 1, static_cast<std::uint64_t>(bucket.padded) / shards() * kFloat);
        }
    }

    void along_layers() {
        const bool updates_all = recipe_.zero == 0 || shards() == 1;
        const std::string axis = recipe_.replicate == 1 ? "data " : "shard ";
        for (const Bucket& bucket : buckets_) {
            if (!is_layer(bucket)) continue;
            const std::uint64_t part = static_cast<std::uint64_t>(bucket.padded) / shards() * kFloat;
            const std::uint64_t bytes = (shards() * count(recipe_.tensor) - 1) * part;
            if (!updates_all || recipe_.tensor > 1) add("layer all_gather", 1, bytes);
            add("layer reduce_scatter", 1, bytes);
            if (updates_all && shards() > 1) add(axis + "all_gather", 1, (shards() - 1) * part);
        }
    }

    Recipe recipe_;
    std::uint64_t tensor_rank_;
    int stage_;
    std::uint64_t micro_batches_;
    std::vector<Bucket> buckets_;
    Exchanged all_;
};

// Of one step: what the tokens are does not matter.
Exchanged measured(const Recipe& recipe, const Group& world) {
    ParallelModel model(setup_of(recipe), world);
    const int micro_batches = static_cast<int>(kRows) / recipe.data;
    Passes passes(model, micro_batches, false);
    model.sharding().initialise(11);
    std::vector<std::int64_t> tokens(kRowTokens);
    std::iota(tokens.begin(), tokens.end(), 1);
    reset_traffic();
    model.sharding().begin_step();
    passes.accumulate_gradients([&](std::uint64_t) { return Batch{1, tokens, tokens}; }, 1.0);
    model.sharding().reduce_gradients();
    model.optimizer().update(1, 1e-3, 1.0);
    model.sharding().publish_values();
    Exchanged all;
    for (const TrafficRow& row : traffic()) all[row.group + " " + row.operation] = {row.calls, row.bytes};
    world.barrier();  // the next model's groups are not counted here
    return all;
}

class Bytes : public ::testing::TestWithParam<ModelLayout> {
  protected:
    static void expect_closed_forms(Recipe recipe) {
        recipe.layout = GetParam();
        ASSERT_EQ(recipe.workers(), test_world().size()) << recipe.text();
        const Exchanged expected = ClosedForms(recipe, test_world().rank()).all();
        EXPECT_FALSE(expected.empty());
        EXPECT_EQ(measured(recipe, test_world()), expected) << recipe.text() << ", rank " << test_world().rank();
    }
};

TEST_P(Bytes, EveryZeroStageExchangesWhatItsClosedFormSays) {
    for (int zero = 0; zero <= 3; ++zero) expect_closed_forms({.data = test_world().size(), .zero = zero});
}

TEST_P(Bytes, TensorRanksGatherAndScatterTokensTwiceALayerAndWay) {
    for (const auto checkpointing :
         {ActivationCheckpointing::none, ActivationCheckpointing::selective, ActivationCheckpointing::full})
        expect_closed_forms({.tensor = test_world().size(), .checkpointing = checkpointing});
}

TEST_P(Bytes, StagesExchangeActivationsGradientsAndTheTiedEmbedding) {
    expect_closed_forms({.pipeline = test_world().size()});
}

TEST_P(Bytes, CombinedAxesAddUp) {
    if (test_world().size() == 2) return expect_closed_forms({.pipeline = 2, .zero = 3});
    for (int zero = 0; zero <= 3; ++zero) {
        expect_closed_forms({.data = 2, .tensor = 2, .zero = zero});
        expect_closed_forms({.data = 2, .pipeline = 2, .zero = zero});
    }
    for (const int zero : {1, 3}) {
        expect_closed_forms({.tensor = 2, .pipeline = 2, .zero = zero, .checkpointing = ActivationCheckpointing::full});
    }
}

TEST_P(Bytes, MuonExchangesEachLayerOnceMoreToAndFro) {
    const int workers = test_world().size();
    for (int zero = 0; zero <= 3; ++zero) expect_closed_forms({.data = workers, .zero = zero, .muon = true});
    expect_closed_forms({.tensor = workers, .muon = true});
    expect_closed_forms({.pipeline = workers, .muon = true});
    if (workers < 4) return;
    for (int zero = 0; zero <= 3; ++zero) {
        expect_closed_forms({.data = 2, .tensor = 2, .zero = zero, .muon = true});
        expect_closed_forms({.data = workers, .zero = zero, .muon = true, .replicate = 2});
    }
}

// The plan stands for data rank 0 and tensor rank 0 of a stage; sums of a few numbers are no part of measured().
TEST_P(Bytes, ThePlanSaysWhatMuonExchanges) {
    const int workers = test_world().size();
    for (const Recipe& cut :
         {Recipe{.data = workers, .zero = 1}, Recipe{.data = workers / 2, .tensor = 2, .zero = 3},
          Recipe{.data = workers / 2, .pipeline = 2, .zero = 0}, Recipe{.data = workers, .zero = 2, .replicate = 2}}) {
        Recipe recipe = cut;
        recipe.layout = GetParam();
        recipe.muon = true;
        const Exchanged found = measured(recipe, test_world());
        if (test_world().rank() != 0) continue;
        ModelSetup setup = setup_of(recipe);
        setup.train.eval_micro_batch_rows = 1;
        const coordinator::Plan plan = coordinator::plan_of({.model = setup.model,
                                                             .vocabulary = setup.vocabulary,
                                                             .sequence_length = setup.sequence_length,
                                                             .train = setup.train,
                                                             .parallel = setup.parallel,
                                                             .workers = workers});
        Exchanged expected;
        for (const coordinator::TrafficPlan& row : plan.stages[0].traffic) {
            if (row.what.starts_with("small")) continue;
            auto& sum = expected[row.group + " " + row.operation];
            sum = {sum.first + row.calls, sum.second + row.bytes};
        }
        EXPECT_EQ(found, expected) << recipe.text();
    }
}

TEST_P(Bytes, ReplicasSumTheOwnPartOnceAStepAndTheRestStaysAmongTheShards) {
    const int workers = test_world().size();
    for (int zero = 0; zero <= 3; ++zero) {
        for (int replicate = 2; replicate <= workers; replicate *= 2)
            expect_closed_forms({.data = workers, .zero = zero, .replicate = replicate});
        if (workers < 4) continue;
        expect_closed_forms({.data = workers / 2, .tensor = 2, .zero = zero, .replicate = 2});
        expect_closed_forms({.data = workers / 2, .pipeline = 2, .zero = zero, .replicate = 2});
    }
}

INSTANTIATE_TEST_SUITE_P(Both, Bytes, ::testing::Values(ModelLayout::gpt2, ModelLayout::llama),
                         [](const auto& shape) { return shape.param == ModelLayout::gpt2 ? "gpt2" : "llama"; });

}  // namespace
}  // namespace kiban::worker
