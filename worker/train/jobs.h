// SPDX-License-Identifier: Apache-2.0
// What a worker does after its hello: receives a job, makes sure that all workers have the same, does it, says
// Finished.
#pragma once

#include "checkpoint/background_writer.h"
#include "worker/comm/group.h"
#include "worker/train/control.h"
#include "worker/train/runtime.h"

namespace kiban::worker {

/// Collective. Returns when the job is done. Throws what goes wrong; the caller reports it.
void run_job(const Group& world, const Runtime& runtime, checkpoint::BackgroundWriter& writer, Control& control);

}  // namespace kiban::worker
