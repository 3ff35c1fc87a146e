// SPDX-License-Identifier: Apache-2.0
// Makes a model on one worker part of a model on many. The model knows nothing of it.
#pragma once

#include <memory>

#include "coordinator/job/model_config.h"
#include "coordinator/job/train_config.h"
#include "worker/model/parameters.h"
#include "worker/model/transformer.h"
#include "worker/optim/sharded_optimizer.h"
#include "worker/parallel/mesh.h"

namespace kiban::worker {

struct ModelSetup {
    coordinator::ModelConfig model;
    std::int64_t vocabulary = 0;
    std::int64_t sequence_length = 0;
    coordinator::ParallelConfig parallel;
    coordinator::TrainConfig train;
};

/// What the run file's train.precision says.
Precision precision_of(const coordinator::TrainConfig& train);

/// This worker's part of a model in training. Not movable: its parts refer to each other.
class ParallelModel {
  public:
    /// Applies the axes in order. ConfigError naming the numbers for what does not divide.
    ParallelModel(const ModelSetup& setup, const Group& world);
    ParallelModel(const ParallelModel&) = delete;
    ParallelModel& operator=(const ParallelModel&) = delete;

    const Mesh& mesh() const { return mesh_; }
    Parameters& parameters() { return *parameters_; }
    ShardedOptimizer& optimizer() { return *optimizer_; }
    ZeroSharding& sharding() { return optimizer_->sharding(); }
    Transformer& model() { return *model_; }
    bool embeds() const { return part_.embeds; }
    bool scores() const { return part_.scores; }

  private:
    void apply_tensor_parallel();
    void apply_activation_checkpointing(const ModelSetup& setup);
    void apply_pipeline(const ModelSetup& setup);
    void apply_data_parallel(const ModelSetup& setup);

    Mesh mesh_;
    coordinator::ModelCut cut_;
    ModelPart part_;
    std::unique_ptr<Parameters> parameters_;
    std::unique_ptr<LinearFactory> linears_;  // null: whole layers
    std::unique_ptr<ShardedOptimizer> optimizer_;
    std::unique_ptr<Transformer> model_;
};

}  // namespace kiban::worker
