// SPDX-License-Identifier: Apache-2.0
// The run state (checkpoint/state.h) before the first step.
#pragma once

#include "checkpoint/state.h"
#include "coordinator/config/run_file.h"
#include "coordinator/protocol/messages.h"
#include "data/manifest.h"
#include "worker/comm/group.h"
#include "worker/train/runtime.h"

namespace kiban::worker {

/// What is the same for all steps of this run in this world.
checkpoint::RunState initial_state(const coordinator::Job& job, const coordinator::RunFile& run_file,
                                   const data::Manifest& manifest, const Group& world, const Runtime& runtime);

}  // namespace kiban::worker
