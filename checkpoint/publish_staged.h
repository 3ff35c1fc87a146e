// SPDX-License-Identifier: Apache-2.0
// The last part of a commit: what is staged becomes a checkpoint of this manifest. Internal to this room; errors as
// commit_checkpoint().
#pragma once

#include <filesystem>
#include <functional>

#include "checkpoint/commit.h"
#include "checkpoint/manifest.h"

namespace kiban::checkpoint {

CheckpointInfo publish_staged(const std::filesystem::path& run_dir, const std::filesystem::path& staging,
                              const Manifest& manifest, const std::function<bool()>& is_current);

}  // namespace kiban::checkpoint
