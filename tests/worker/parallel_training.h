// SPDX-License-Identifier: Apache-2.0
// A few training steps of a small model on made-up tokens, cut as a recipe says, without a coordinator: what the tests
// of the axes compare.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "coordinator/job/train_config.h"
#include "monitoring/model_health.h"
#include "worker/comm/group.h"
#include "worker/parallel/parallelize.h"

namespace kiban::worker {

struct Recipe {
    int data = 1;
    int tensor = 1;
    int pipeline = 1;
    int zero = 1;
    coordinator::ModelLayout layout = coordinator::ModelLayout::gpt2;
    coordinator::ActivationCheckpointing checkpointing = coordinator::ActivationCheckpointing::none;
    bool fixed = false;
    bool muon = false;
    bool bf16 = false;
    int steps = 10;
    int replicate = 1;      // divides data
    bool observed = false;  // the last update and the evaluation

    int workers() const { return data * tensor * pipeline; }
    std::string text() const;
};

struct Trained {                                      // complete on rank 0
    std::vector<double> losses;                       // of each step
    std::vector<double> norms;                        // of its gradients
    std::map<std::string, std::vector<float>> first;  // gradients of the first step, whole tensors
    std::map<std::string, std::vector<float>> last;   // weights after the last
    double holdout = 0;
    std::map<std::string, std::vector<float>> before_last;  // weights, where observed; so is what follows
    monitoring::ModelHealth health;
};

constexpr std::int64_t kVocabulary = 61;
constexpr std::int64_t kTokens = 12;  // of a row
constexpr std::uint64_t kRows = 8;    // of a batch, each a micro-batch

ModelSetup setup_of(const Recipe& recipe);

/// Collective over `group`, which has recipe.workers() members.
Trained train(const Recipe& recipe, const Group& group);

}  // namespace kiban::worker
