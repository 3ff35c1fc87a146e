// SPDX-License-Identifier: Apache-2.0
// A checkpoint of one run as one of another (`kiban fork`): the same files, another state table.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>

#include "checkpoint/commit.h"

namespace kiban::checkpoint {

/// Copies the files of the checkpoint `from`, each block checked on the way, and commits them in `run_dir` under the
/// same step, with `attempt` and `state`. CheckpointError when a block of `from` is damaged, IoError when the disk
/// refuses: nothing becomes visible then. Memory: one block. Fault points as commit_checkpoint(), and ckpt.copy.
CheckpointInfo copy_checkpoint(const std::filesystem::path& from, const std::filesystem::path& run_dir,
                               std::uint32_t attempt, const nlohmann::json& state,
                               const std::function<bool()>& is_current);

}  // namespace kiban::checkpoint
