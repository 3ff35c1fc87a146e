// SPDX-License-Identifier: Apache-2.0
// A worker's part in a checkpoint: worker 0 asks for a place, every worker writes its shard there, the coordinator
// commits.
#pragma once

#include <cstdint>

#include "checkpoint/state.h"
#include "worker/comm/group.h"
#include "worker/optim/sharded_optimizer.h"
#include "worker/train/control.h"

namespace kiban::worker {

/// All workers call it at the same step. Whether the checkpoint is committed; otherwise the reason is logged and
/// training may go on.
bool save_checkpoint(Control& control, const Group& world, ShardedOptimizer& optimizer,
                     const checkpoint::RunState& state);

}  // namespace kiban::worker
