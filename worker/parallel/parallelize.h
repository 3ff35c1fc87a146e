// SPDX-License-Identifier: Apache-2.0
// Makes a model on one worker part of a model on many. The model knows nothing of it.
#pragma once

#include <memory>

#include "coordinator/job/train_config.h"
#include "worker/model/parameters.h"
#include "worker/optim/sharded_optimizer.h"
#include "worker/parallel/mesh.h"

namespace kiban::worker {

/// Applies the axes in order and returns the optimizer that keeps the data-parallel copies equal. `parameters` and
/// `mesh` must outlive it. ConfigError naming the numbers for an axis that is not there yet.
std::unique_ptr<ShardedOptimizer> parallelize(Parameters& parameters, const Mesh& mesh,
                                              const coordinator::ParallelConfig& parallel,
                                              const coordinator::TrainConfig& train);

}  // namespace kiban::worker
