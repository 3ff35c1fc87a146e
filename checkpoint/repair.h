// SPDX-License-Identifier: Apache-2.0
// `kiban repair`: which checkpoints of a run are damaged, and getting them out of the way.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/commit.h"

namespace kiban::checkpoint {

struct DamagedCheckpoint {
    CheckpointInfo checkpoint;
    std::vector<std::string> faults;
    std::filesystem::path moved_to;  // empty: it is where it was
};
struct RepairResult {
    std::vector<CheckpointInfo> sound;  // newest first, without rejected ones
    std::vector<DamagedCheckpoint> damaged;
    std::vector<DamagedCheckpoint> unreadable;  // an I/O error, which may pass: never moved
};

/// Re-reads every byte of all checkpoints, rejected ones too. With `drop`, damaged ones are rejected and moved to
/// RUN/ckpt/.damaged/, where nothing deletes them - unless no sound one would remain: then none is moved, since the
/// damaged ones are all there is to save something from. One that a live run removes meanwhile is in no list. Sound
/// ones are never touched. Only the owner of the run, or when it has none, may drop. NewerFormatError of a checkpoint
/// counts as sound: it is no damage.
RepairResult repair_checkpoints(const std::filesystem::path& run_dir, bool drop);

}  // namespace kiban::checkpoint
