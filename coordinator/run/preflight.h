// SPDX-License-Identifier: Apache-2.0
// `kiban doctor --preflight`: workers on every node of the allocation say what they see (coordinator/job/preflight.h).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/job/preflight.h"

namespace kiban::coordinator {

struct PreflightOptions {
    std::filesystem::path directory = ".";  // where runs will write; a small directory is made there and removed
    int workers = 0;                        // 0: those of the Slurm job, else 2
    int threads_per_worker = 1;
    std::string launcher = "auto";
    std::string interface = "127.0.0.1";  // launch.control_interface
};

struct PreflightResult {
    std::vector<Finding> findings;
    std::vector<PreflightRow> rows;  // empty: the workers came to no end, and a finding says why
};

/// Starts the workers as a run would. Called from the main thread before any other thread exists (signals).
/// ConfigError, IoError as an attempt.
PreflightResult run_preflight(const PreflightOptions& options);

/// Why workers that were started never answered, for a person: what the launcher and they said last, and what it
/// usually means. Pure.
Finding explain_launch_failure(const std::string& reason);

}  // namespace kiban::coordinator
