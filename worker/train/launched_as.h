// SPDX-License-Identifier: Apache-2.0
// What `kiban exec-worker` tells the process it becomes, through the environment. Errors: ConfigError naming the
// variable.
#pragma once

#include <cstdint>
#include <filesystem>

namespace kiban::worker {

struct LaunchedAs {
    std::filesystem::path run_dir;  // KIBAN_RUN_DIR: where the control channel's files are
    std::uint32_t attempt = 0;      // KIBAN_ATTEMPT
    int world_size = 0;             // KIBAN_WORLD: how many workers there must be

    static LaunchedAs from_environment();
    std::filesystem::path log_directory() const;
};

}  // namespace kiban::worker
