// SPDX-License-Identifier: Apache-2.0
// One worker of a plan: what of the model it has. Internal to coordinator/job.
#pragma once

#include <algorithm>
#include <cstdint>

#include "coordinator/job/layout.h"
#include "coordinator/job/plan.h"

namespace kiban::coordinator {

struct PlannedStage {
    PlannedStage(const PlanInput& plan_input, int stage);

    const PlanInput& input;
    int data = 1;
    int shards = 1;  // of one replica of the ZeRO state
    ModelCut cut;    // tensor rank 0
    Layout layout;
    checkpoint::Part layers;
    std::int64_t micro_batches = 1;

    bool embeds() const { return cut.first_stage(); }
    bool scores() const { return cut.last_stage(); }
    bool gpt2() const { return input.model.layout == ModelLayout::gpt2; }
    bool bf16() const { return input.train.precision == "bf16"; }
    /// The embedding is the head, on this worker alone.
    bool ties_here() const { return gpt2() && embeds() && scores(); }
    /// Forward passes before the first backward pass of a step (1F1B, worker/parallel/pipeline_schedule.h).
    std::int64_t ahead() const { return std::min<std::int64_t>(cut.pipeline - cut.stage - 1, micro_batches); }
    /// Micro-batches between forward and backward at once.
    std::int64_t under_way() const { return std::min<std::int64_t>(cut.pipeline - cut.stage, micro_batches); }
    /// Tokens of a micro-batch of `rows` rows, and those of them that stand on one tensor rank between the layers.
    std::int64_t tokens(std::uint64_t rows) const { return static_cast<std::int64_t>(rows) * input.sequence_length; }
    std::int64_t tokens_here(std::uint64_t rows) const { return tokens(rows) / cut.tensor; }
};

}  // namespace kiban::coordinator
