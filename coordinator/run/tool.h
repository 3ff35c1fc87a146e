// SPDX-License-Identifier: Apache-2.0
// A job for workers beside a run: it reads the run directory and leaves nothing there, so a live run is not disturbed.
// Internal to this room.
#pragma once

#include <filesystem>
#include <string>

#include "coordinator/run/attempt.h"

namespace kiban::coordinator {

/// One attempt on workers of its own, whose control files and logs are removed at its end. Throws as Attempt does.
AttemptEnd run_tool(const std::string& name, const std::filesystem::path& run_dir, const LaunchConfig& launch,
                    AttemptMode& mode);

}  // namespace kiban::coordinator
