// SPDX-License-Identifier: Apache-2.0
// What Muon takes of one worker: memory between steps, memory of its update. Internal to coordinator/job.
#pragma once

#include <cstdint>

#include "coordinator/job/plan_stage.h"

namespace kiban::coordinator {

/// Whether Muon updates matrices on this worker.
bool has_muon(const PlannedStage& stage);
/// Whether it updates tensors of this bucket.
bool has_muon(const PlannedStage& stage, const Bucket& bucket);

/// Bytes of the state of what this worker updates: two floats an element, one where it is Muon's
/// (worker/optim/optimizer_state.h). The largest over the data ranks, whose pieces hold more or fewer vectors.
std::uint64_t optimizer_bytes(const PlannedStage& stage);

/// Bytes that the update keeps from layer to layer (worker/optim/muon_update.h): the largest layer of all tensor ranks,
/// a whole matrix, and beside it one more with two squares of its shorter side, on the worker that has the largest.
std::uint64_t muon_bytes(const PlannedStage& stage);

}  // namespace kiban::coordinator
