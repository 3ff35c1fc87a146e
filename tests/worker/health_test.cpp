// SPDX-License-Identifier: Apache-2.0
// The health of one model, cut along every axis: what is said of it does not depend on the cut, and the norms are those
// of its whole tensors.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "monitoring/error.h"
#include "tests/support/mpi_world.h"
#include "tests/worker/parallel_training.h"
#include "worker/optim/update_watch.h"

namespace kiban::worker {
namespace {

using coordinator::ModelLayout;
using monitoring::ModelHealth;

constexpr int kSteps = 3;

std::vector<Recipe> recipes_of(int workers) {
    std::vector<Recipe> recipes;
    for (int tensor = 1; tensor <= workers; tensor *= 2) {
        for (int pipeline = 1; pipeline <= workers / tensor; pipeline *= 2) {
            const int data = workers / tensor / pipeline;
            for (const int zero : {0, 1, 3}) {
                for (int replicate = 1; replicate <= (zero == 1 ? data : 1); replicate *= 2)
                    recipes.push_back(
                        {.data = data, .tensor = tensor, .pipeline = pipeline, .zero = zero, .replicate = replicate});
            }
        }
    }
    return recipes;
}

void expect_close(const std::optional<double>& found, const std::optional<double>& expected, const char* what) {
    ASSERT_EQ(found.has_value(), expected.has_value()) << what;
    if (!expected) return;
    EXPECT_NEAR(*found, *expected, 2e-3 * std::abs(*expected)) << what;
}

void expect_same_health(const ModelHealth& found, const ModelHealth& expected) {
    ASSERT_EQ(found.groups.size(), expected.groups.size());
    for (std::size_t i = 0; i < found.groups.size(); ++i) {
        EXPECT_EQ(found.groups[i].group, expected.groups[i].group);
        expect_close(found.groups[i].parameters, expected.groups[i].parameters, "parameters");
        expect_close(found.groups[i].update, expected.groups[i].update, "update");
    }
    ASSERT_EQ(found.layers.size(), expected.layers.size());
    for (std::size_t i = 0; i < found.layers.size(); ++i) {
        EXPECT_EQ(found.layers[i].layer, expected.layers[i].layer);
        expect_close(found.layers[i].rms, expected.layers[i].rms, "rms");
        expect_close(found.layers[i].largest, expected.layers[i].largest, "largest");
        expect_close(found.layers[i].kurtosis, expected.layers[i].kurtosis, "kurtosis");
        EXPECT_NEAR(found.layers[i].mean_cosine, expected.layers[i].mean_cosine, 2e-3);
        expect_close(found.layers[i].attention_entropy_nats, expected.layers[i].attention_entropy_nats, "entropy");
        expect_close(found.layers[i].attention_logit_max, expected.layers[i].attention_logit_max, "attention logit");
    }
    expect_close(found.adam_second_moment_norm, expected.adam_second_moment_norm, "second moments");
    expect_close(found.output_logit_max, expected.output_logit_max, "output logit");
    expect_close(found.embedding_effective_rank, expected.embedding_effective_rank, "effective rank");
    expect_close(found.embedding_isotropy_ratio, expected.embedding_isotropy_ratio, "isotropy");
    expect_close(found.embedding_uniformity, expected.embedding_uniformity, "uniformity");
}

// Of whole tensors, on one worker.
void expect_norms_of(const Trained& trained) {
    std::vector<double> parameters(kTensorGroups.size());
    std::vector<double> changes(kTensorGroups.size());
    for (const auto& [name, after] : trained.last) {
        const std::vector<float>& before = trained.before_last.at(name);
        const std::size_t group = tensor_group(name);
        for (std::size_t i = 0; i < after.size(); ++i) {
            parameters[group] += std::pow(static_cast<double>(after[i]), 2);
            changes[group] += std::pow(static_cast<double>(after[i]) - static_cast<double>(before[i]), 2);
        }
    }
    std::size_t next = 0;
    for (std::size_t group = 0; group < kTensorGroups.size(); ++group) {
        if (parameters[group] == 0) continue;
        ASSERT_LT(next, trained.health.groups.size());
        const monitoring::GroupNorms& found = trained.health.groups[next++];
        EXPECT_EQ(found.group, kTensorGroups[group]);
        EXPECT_NEAR(found.parameters, std::sqrt(parameters[group]), 1e-9 * std::sqrt(parameters[group]));
        EXPECT_NEAR(found.update, std::sqrt(changes[group]), 1e-9 * std::sqrt(changes[group]));
    }
    EXPECT_EQ(next, trained.health.groups.size());
}

class HealthOf : public ::testing::TestWithParam<ModelLayout> {
  protected:
    void expect_one_truth(bool muon) {
        const int me = test_world().rank();
        const Trained expected =
            me == 0 ? train({.zero = 0, .layout = GetParam(), .muon = muon, .steps = kSteps, .observed = true},
                            Group::alone())
                    : Trained{};
        if (me == 0) expect_norms_of(expected);
        for (Recipe recipe : recipes_of(test_world().size())) {
            if (muon && recipe.zero != 1) continue;  // what Muon adds is the same at every stage
            SCOPED_TRACE(recipe.text());
            recipe.layout = GetParam();
            recipe.muon = muon;
            recipe.steps = kSteps;
            recipe.observed = true;
            const Trained found = train(recipe, test_world());
            if (me == 0) expect_norms_of(found);
            if (me == 0) expect_same_health(found.health, expected.health);
        }
    }
};
INSTANTIATE_TEST_SUITE_P(Both, HealthOf, ::testing::Values(ModelLayout::gpt2, ModelLayout::llama),
                         [](const auto& shape) { return shape.param == ModelLayout::gpt2 ? "gpt2" : "llama"; });

TEST_P(HealthOf, EveryCutSaysTheSameAndNormsAreThoseOfTheWholeTensors) { expect_one_truth(false); }

TEST_P(HealthOf, EveryCutSaysTheSameWithMuon) { expect_one_truth(true); }

TEST_P(HealthOf, WhatIsLookedAtKeepsItsBits) {
    for (const bool muon : {false, true}) {
        Recipe recipe{.data = test_world().size(), .zero = 1, .layout = GetParam(), .muon = muon, .steps = kSteps};
        const Trained plain = train(recipe, test_world());
        recipe.observed = true;
        const Trained observed = train(recipe, test_world());
        EXPECT_EQ(observed.last, plain.last);
        EXPECT_EQ(observed.losses, plain.losses);
        EXPECT_EQ(observed.holdout, plain.holdout);
    }
}

TEST(Health, EveryTensorOfBothLayoutsIsInAGroupAndAnotherIsRefusedByName) {
    EXPECT_EQ(kTensorGroups[tensor_group("positions.weight")], "embedding");
    EXPECT_EQ(kTensorGroups[tensor_group("layers.11.attention.q.bias")], "attention");
    EXPECT_EQ(kTensorGroups[tensor_group("layers.11.attention_norm.weight")], "norm");
    EXPECT_EQ(kTensorGroups[tensor_group("layers.3.mlp.gate.weight")], "mlp");
    EXPECT_EQ(kTensorGroups[tensor_group("norm.bias")], "norm");
    EXPECT_EQ(kTensorGroups[tensor_group("head.weight")], "head");
    try {
        tensor_group("experts.0.weight");
        FAIL() << "nothing was thrown";
    } catch (const InternalError& error) {
        EXPECT_STREQ(error.what(), "tensor 'experts.0.weight' is in no group of tensors");
    }
}

}  // namespace
}  // namespace kiban::worker
