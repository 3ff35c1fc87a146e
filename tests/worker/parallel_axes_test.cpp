// SPDX-License-Identifier: Apache-2.0
// The same model, cut along every axis: losses, gradients, weights and evaluation against the uncut model.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/mpi_world.h"
#include "tests/worker/parallel_expectations.h"

namespace kiban::worker {
namespace {

using coordinator::ActivationCheckpointing;
using coordinator::ModelLayout;

// Every combination of degrees for the number of ranks there is.
std::vector<Recipe> recipes_of(int workers) {
    std::vector<Recipe> recipes;
    int number = 0;
    for (int tensor = 1; tensor <= std::min(workers, 4); tensor *= 2) {
        for (int pipeline = 1; pipeline <= std::min(workers / tensor, 4); pipeline *= 2) {
            const int data = workers / tensor / pipeline;
            for (int zero = 0; zero <= 3; ++zero) {
                if (data == 1 && zero > 1 && tensor * pipeline > 1 && zero != 3) continue;
                const auto checkpointing = static_cast<ActivationCheckpointing>(number++ % 3);
                recipes.push_back({.data = data,
                                   .tensor = tensor,
                                   .pipeline = pipeline,
                                   .zero = zero,
                                   .checkpointing = checkpointing});
            }
        }
    }
    return recipes;
}

// Two replicas and, of the data axis alone, more: with each ZeRO stage, alone, with tensor ranks and with stages.
std::vector<Recipe> recipes_of_replicas(int workers) {
    std::vector<Recipe> recipes;
    for (const auto& [tensor, pipeline] : {std::pair{1, 1}, std::pair{2, 1}, std::pair{1, 2}, std::pair{2, 2}}) {
        const int data = workers / tensor / pipeline;
        const int most = tensor * pipeline == 1 ? std::min(data, 4) : std::min(data, 2);
        for (int replicate = 2; replicate <= most; replicate *= 2) {
            for (int zero = 1; zero <= 3; ++zero) {
                recipes.push_back(
                    {.data = data, .tensor = tensor, .pipeline = pipeline, .zero = zero, .replicate = replicate});
            }
        }
    }
    return recipes;
}

class Axes : public ::testing::TestWithParam<ModelLayout> {
  protected:
    static void expect_uncut_model(bool muon, const std::vector<Recipe>& recipes) {
        const int me = test_world().rank();
        const Trained expected =
            me == 0 ? train({.zero = 0, .layout = GetParam(), .muon = muon}, Group::alone()) : Trained{};
        for (Recipe recipe : recipes) {
            recipe.layout = GetParam();
            recipe.muon = muon;
            const Trained found = train(recipe, test_world());
            if (me == 0) expect_same(found, expected, recipe.text());
            if (::testing::Test::HasFatalFailure()) return;
        }
    }

    static void expect_bits_of_one_worker(bool muon) {
        const int me = test_world().rank();
        Recipe recipe{.zero = 1, .layout = GetParam(), .fixed = true, .muon = muon};
        const Trained expected = me == 0 ? train(recipe, Group::alone()) : Trained{};
        recipe.data = test_world().size();
        const std::pair<int, int> cuts[] = {{0, 1}, {1, 1}, {1, 2}, {1, recipe.data}};
        for (const auto& [zero, replicate] : cuts) {
            if (replicate > recipe.data) continue;
            recipe.zero = zero;
            recipe.replicate = replicate;
            const Trained found = train(recipe, test_world());
            if (me != 0) continue;
            EXPECT_EQ(found.losses, expected.losses) << recipe.text();
            EXPECT_EQ(found.norms, expected.norms) << recipe.text();
            EXPECT_EQ(found.first, expected.first) << recipe.text();
            EXPECT_EQ(found.last, expected.last) << recipe.text();
            EXPECT_EQ(found.holdout, expected.holdout) << recipe.text();
        }
    }
};

TEST_P(Axes, EveryCombinationTrainsTheUncutModel) { expect_uncut_model(false, recipes_of(test_world().size())); }

TEST_P(Axes, EveryCombinationTrainsTheUncutModelWithMuon) { expect_uncut_model(true, recipes_of(test_world().size())); }

TEST_P(Axes, ReplicasOfShardsTrainTheUncutModel) {
    expect_uncut_model(false, recipes_of_replicas(test_world().size()));
}

TEST_P(Axes, ReplicasOfShardsTrainTheUncutModelWithMuon) {
    const int tensor = test_world().size() >= 8 ? 2 : 1;
    const int data = test_world().size() / tensor;
    if (data < 2) return;
    std::vector<Recipe> recipes;
    for (const int zero : {0, 1, 3}) recipes.push_back({.data = data, .tensor = tensor, .zero = zero, .replicate = 2});
    expect_uncut_model(true, recipes);
}

TEST_P(Axes, FixedReductionGivesTheBitsOfOneWorker) { expect_bits_of_one_worker(false); }

TEST_P(Axes, FixedReductionGivesTheBitsOfOneWorkerWithMuon) { expect_bits_of_one_worker(true); }

INSTANTIATE_TEST_SUITE_P(Both, Axes, ::testing::Values(ModelLayout::gpt2, ModelLayout::llama),
                         [](const auto& shape) { return shape.param == ModelLayout::gpt2 ? "gpt2" : "llama"; });

}  // namespace
}  // namespace kiban::worker
