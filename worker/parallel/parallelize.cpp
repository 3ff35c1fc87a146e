// SPDX-License-Identifier: Apache-2.0
#include "worker/parallel/parallelize.h"

#include "monitoring/error.h"
#include "monitoring/log.h"
#include "worker/parallel/sharding.h"

namespace kiban::worker {
namespace {

void refuse_unless_one(const char* key, int degree, const MeshShape& shape) {
    if (degree == 1) return;
    throw ConfigError("parallel.{} = {}: this version cuts no model along that axis, expected 1 (asked for: {})", key,
                      degree, shape.text());
}

void apply_tensor_parallel(const Parameters& parameters, const Mesh& mesh) {
    refuse_unless_one("tensor", mesh.shape.tensor, mesh.shape);
    refuse_unless_one("context", mesh.shape.context, mesh.shape);
    for (const ParameterEntry& entry : parameters.entries()) {
        const checkpoint::Placement placement = placement_of(entry.spec.name);
        KIBAN_CHECK(placement == checkpoint::Placement::Replicated(), "tensor '{}' is to be split along dim {}",
                    entry.spec.name, placement.dim);
    }
}

void apply_pipeline(const Mesh& mesh) { refuse_unless_one("pipeline", mesh.shape.pipeline, mesh.shape); }

std::unique_ptr<ShardedOptimizer> apply_data_parallel(Parameters& parameters, const Mesh& mesh, int zero_stage,
                                                      const coordinator::TrainConfig& train) {
    auto optimizer =
        std::make_unique<ShardedOptimizer>(parameters, train.optimizer, train.clip_norm, zero_stage, mesh.data);
    if (mesh.data.size() > 1) {
        monitoring::log_info("data parallel over {} workers, ZeRO stage {}: {} bytes of optimizer state here",
                             mesh.data.size(), zero_stage, optimizer->optimizer_bytes());
    }
    return optimizer;
}

}  // namespace

// Activation checkpointing goes between tensor parallelism and the pipeline: it wraps layers whose linears are already
// cut.
std::unique_ptr<ShardedOptimizer> parallelize(Parameters& parameters, const Mesh& mesh,
                                              const coordinator::ParallelConfig& parallel,
                                              const coordinator::TrainConfig& train) {
    apply_tensor_parallel(parameters, mesh);
    apply_pipeline(mesh);
    return apply_data_parallel(parameters, mesh, parallel.zero, train);
}

}  // namespace kiban::worker
