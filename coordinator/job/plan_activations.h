// SPDX-License-Identifier: Apache-2.0
// Memory of the forward and backward passes of one worker. Internal to coordinator/job.
#pragma once

#include <cstdint>

#include "coordinator/job/plan_stage.h"

namespace kiban::coordinator {

struct PassMemory {          // bytes
    std::uint64_t kept = 0;  // after the forward passes of all micro-batches that are under way at once
    std::uint64_t peak = 0;  // of a step's passes or of an evaluation, the larger
};

/// Follows tensors from their making to their release through the passes of worker/model: what an autograd function
/// saves, what lives as long as a C++ scope, what the engine releases after each function.
PassMemory pass_memory(const PlannedStage& stage);

}  // namespace kiban::coordinator
