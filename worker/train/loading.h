// SPDX-License-Identifier: Apache-2.0
// Where training starts: from initial weights or from a checkpoint that every worker has read and verified.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "checkpoint/state.h"
#include "worker/comm/group.h"
#include "worker/model/parameters.h"
#include "worker/optim/sharded_optimizer.h"

namespace kiban::worker {

struct LoadOutcome {
    std::string error;           // why it is not to be trusted; empty: loaded and verified; the same on all workers
    checkpoint::RunState state;  // as stored
    std::string exactness;       // exact | sample-exact: reason
};

/// Communicates. Each worker reads its share; all agree, then compare fingerprints over the group. `now` describes this
/// run and its world. ConfigError when the checkpoint belongs to another run (other corpus, seed, ...); IoError on
/// every worker when one cannot read its share: that may pass, so it says nothing against the checkpoint.
LoadOutcome load_checkpoint(const std::filesystem::path& directory, const checkpoint::RunState& now, const Group& world,
                            ShardedOptimizer& optimizer);

/// Reads whole parameters, without optimizer state, in this process alone. CheckpointError when a tensor is missing or
/// differs from its fingerprint.
void load_parameters(const std::filesystem::path& directory, Parameters& parameters);

}  // namespace kiban::worker
