// SPDX-License-Identifier: Apache-2.0
// The job "preflight": what this worker sees, how fast its node is, and the bits of a small training step.
#pragma once

#include <string>

#include "coordinator/protocol/messages.h"
#include "worker/comm/group.h"
#include "worker/train/runtime.h"

namespace kiban::worker {

/// Collective. The answers of all workers as JSON (coordinator/job/preflight.h), the same on each. The job's options:
/// directory, nonce_file.
std::string preflight(const coordinator::Job& job, const Group& world, const Runtime& runtime);

}  // namespace kiban::worker
