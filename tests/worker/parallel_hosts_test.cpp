// SPDX-License-Identifier: Apache-2.0
// Every axis over several hosts against the uncut model: four ranks, two on the first of three hosts, so that some
// groups share memory and others send messages.
#include <gtest/gtest.h>

#include "tests/support/mpi_world.h"
#include "tests/worker/parallel_expectations.h"

namespace kiban::worker {
namespace {

using coordinator::ActivationCheckpointing;
using coordinator::ModelLayout;

constexpr int kSteps = 3;

class AxesOverHosts : public ::testing::TestWithParam<ModelLayout> {
  protected:
    static void expect_uncut_model(std::vector<Recipe> recipes) {
        ASSERT_EQ(test_world().size(), 4);
        ASSERT_EQ(test_hosts(), 3);
        const int me = test_world().rank();
        const Trained expected =
            me == 0 ? train({.zero = 0, .layout = GetParam(), .steps = kSteps}, Group::alone()) : Trained{};
        for (Recipe& recipe : recipes) {
            recipe.layout = GetParam();
            recipe.steps = kSteps;
            const Trained found = train(recipe, test_world());
            if (me == 0) expect_same(found, expected, recipe.text());
            if (HasFatalFailure()) return;
        }
    }
};

TEST_P(AxesOverHosts, EachAxisAloneTrainsTheUncutModel) {
    expect_uncut_model({{.data = 4, .zero = 0},
                        {.data = 4, .zero = 1},
                        {.data = 4, .zero = 2},
                        {.data = 4, .zero = 3},
                        {.tensor = 4},
                        {.pipeline = 4}});
}

TEST_P(AxesOverHosts, CombinedAxesTrainTheUncutModel) {
    expect_uncut_model({{.data = 2, .tensor = 2, .zero = 3},
                        {.data = 2, .pipeline = 2, .zero = 2, .checkpointing = ActivationCheckpointing::full},
                        {.tensor = 2, .pipeline = 2, .checkpointing = ActivationCheckpointing::selective}});
}

TEST_P(AxesOverHosts, FixedReductionGivesTheBitsOfOneWorker) {
    const int me = test_world().rank();
    Recipe recipe{.zero = 1, .layout = GetParam(), .fixed = true, .steps = kSteps};
    const Trained expected = me == 0 ? train(recipe, Group::alone()) : Trained{};
    recipe.data = 4;
    const Trained found = train(recipe, test_world());
    if (me != 0) return;
    EXPECT_EQ(found.losses, expected.losses);
    EXPECT_EQ(found.norms, expected.norms);
    EXPECT_EQ(found.last, expected.last);
}

INSTANTIATE_TEST_SUITE_P(Both, AxesOverHosts, ::testing::Values(ModelLayout::gpt2, ModelLayout::llama),
                         [](const auto& shape) { return shape.param == ModelLayout::gpt2 ? "gpt2" : "llama"; });

}  // namespace
}  // namespace kiban::worker
