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

class Axes : public ::testing::TestWithParam<ModelLayout> {
  protected:
    static void expect_uncut_model(bool muon) {
        const int me = test_world().rank();
        const Trained expected =
            me == 0 ? train({.zero = 0, .layout = GetParam(), .muon = muon}, Group::alone()) : Trained{};
        for (Recipe recipe : recipes_of(test_world().size())) {
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
        for (recipe.zero = 0; recipe.zero <= 1; ++recipe.zero) {
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

TEST_P(Axes, EveryCombinationTrainsTheUncutModel) { expect_uncut_model(false); }

TEST_P(Axes, EveryCombinationTrainsTheUncutModelWithMuon) { expect_uncut_model(true); }

TEST_P(Axes, FixedReductionGivesTheBitsOfOneWorker) { expect_bits_of_one_worker(false); }

TEST_P(Axes, FixedReductionGivesTheBitsOfOneWorkerWithMuon) { expect_bits_of_one_worker(true); }

INSTANTIATE_TEST_SUITE_P(Both, Axes, ::testing::Values(ModelLayout::gpt2, ModelLayout::llama),
                         [](const auto& shape) { return shape.param == ModelLayout::gpt2 ? "gpt2" : "llama"; });

}  // namespace
}  // namespace kiban::worker
