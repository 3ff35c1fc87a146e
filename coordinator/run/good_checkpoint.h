// SPDX-License-Identifier: Apache-2.0
// Which checkpoints of a run are good, as far as a quick look tells. Reads only: unlike a resume it rejects nothing.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "checkpoint/commit.h"

namespace kiban::coordinator {

/// Those without a quick fault, newest first.
std::vector<checkpoint::CheckpointInfo> good_checkpoints(const std::filesystem::path& run_dir);

/// Which one a tool reads when none is named: the newest one without a quick fault. CheckpointError when there is none;
/// `purpose` is for its message ("export").
std::filesystem::path good_checkpoint(const std::filesystem::path& run_dir, std::string_view purpose);

}  // namespace kiban::coordinator
