// SPDX-License-Identifier: Apache-2.0
#include "worker/parallel/parallelize.h"

#include "coordinator/job/inventory.h"
#include "monitoring/error.h"
#include "monitoring/log.h"
#include "worker/kernels/gemm_bf16.h"
#include "worker/parallel/tensor_linear.h"

namespace kiban::worker {
namespace {

using coordinator::ActivationCheckpointing;
using coordinator::ModelLayout;
using monitoring::log_info;

MeshShape checked_shape(const ModelSetup& setup, int world_size) {
    const MeshShape shape = MeshShape::of(setup.parallel, world_size);
    if (shape.context != 1) {
        throw ConfigError(
            "parallel.context = {}: this version cuts no model along that axis, expected 1 (asked for: {})",
            shape.context, shape.text());
    }
    coordinator::check_cut(setup.model, setup.parallel);
    return shape;
}

coordinator::ModelCut cut_of(const Mesh& mesh) {
    const auto at = mesh.shape.coordinates_of(mesh.world.rank());
    return {
        .tensor = mesh.shape.tensor, .tensor_rank = at.tensor, .pipeline = mesh.shape.pipeline, .stage = at.pipeline};
}

bool ties_ends(const ModelSetup& setup) { return setup.model.layout == ModelLayout::gpt2; }

WholeModel whole_model(const ModelSetup& setup) {
    WholeModel whole;
    for (const auto& spec : coordinator::tensor_inventory(setup.model, setup.vocabulary, setup.sequence_length)) {
        ++whole.tensors;
        whole.elements += spec.elements();
        if (setup.train.optimizer.name != "muon" || !coordinator::muon_updates(spec)) continue;
        ++whole.muons_tensors;
        whole.muons_elements += spec.elements();
    }
    return whole;
}

}  // namespace

Precision precision_of(const coordinator::TrainConfig& train) {
    KIBAN_CHECK(train.precision == "fp32" || train.precision == "bf16", "multiply in '{}': expected fp32 or bf16",
                train.precision);
    return train.precision == "bf16" ? Precision::bf16 : Precision::fp32;
}

ParallelModel::ParallelModel(const ModelSetup& setup, const Group& world)
    : mesh_(checked_shape(setup, world.size()), world, ties_ends(setup)),
      cut_(cut_of(mesh_)),
      parameters_(std::make_unique<Parameters>(
          coordinator::layout_of(setup.model, setup.vocabulary, setup.sequence_length, cut_, mesh_.shape.data),
          held_at(setup.parallel.zero), precision_of(setup.train))) {
    if (parameters_->precision() == Precision::bf16)
        log_info("{}; weights, gradients, sums and the residual stream are fp32", bf16_products());
    apply_tensor_parallel();
    apply_activation_checkpointing(setup);  // wraps layers whose linears are already cut
    apply_pipeline(setup);
    apply_data_parallel(setup);
    model_ = std::make_unique<Transformer>(setup.model, setup.vocabulary, setup.sequence_length, *parameters_,
                                           LossOptions{.z_loss = setup.train.z_loss}, part_);
}

void ParallelModel::apply_tensor_parallel() {
    if (mesh_.tensor.size() == 1) return;
    linears_ = std::make_unique<TensorParallelLinears>(*parameters_, mesh_.tensor);
    part_.linears = linears_.get();
    part_.token_part = mesh_.tensor.rank();
    part_.token_parts = mesh_.tensor.size();
    log_info("tensor parallel over {} workers, their tokens shared out between the layers", mesh_.tensor.size());
}

void ParallelModel::apply_activation_checkpointing(const ModelSetup& setup) {
    part_.checkpointing = setup.train.activation_checkpointing;
    if (part_.checkpointing == ActivationCheckpointing::none) return;
    log_info("activation checkpointing: {}", part_.checkpointing == ActivationCheckpointing::full
                                                 ? "every block is recomputed"
                                                 : "the second half of every block is recomputed");
}

void ParallelModel::apply_pipeline(const ModelSetup& setup) {
    const checkpoint::Part layers = coordinator::layers_of_stage(setup.model.layers, cut_.stage, cut_.pipeline);
    part_.first_layer = layers.begin;
    part_.end_layer = layers.end;
    part_.embeds = cut_.first_stage();
    part_.scores = cut_.last_stage();
    if (cut_.pipeline > 1)
        log_info("pipeline stage {} of {}: layers {} to {}", cut_.stage, cut_.pipeline, layers.begin, layers.end - 1);
}

void ParallelModel::apply_data_parallel(const ModelSetup& setup) {
    optimizer_ = std::make_unique<ShardedOptimizer>(*parameters_, setup.train.optimizer, setup.train.clip_norm,
                                                    setup.parallel.zero, mesh_, whole_model(setup));
    part_.hooks = mesh_.world.size() > 1 || setup.parallel.zero >= 2 ? &optimizer_->sharding() : nullptr;
    if (mesh_.data.size() > 1) {
        const int replicas = mesh_.replica.size();
        log_info("data parallel over {} workers{}, ZeRO stage {}: {} bytes of optimizer state here", mesh_.data.size(),
                 replicas > 1 ? fmt::format(" in {} replicas", replicas) : "", setup.parallel.zero,
                 optimizer_->optimizer_bytes());
    }
}

}  // namespace kiban::worker
