// SPDX-License-Identifier: Apache-2.0
// Section [checkpoint] of the run file.
#pragma once

#include <cstdint>
#include <string>

namespace kiban::checkpoint {

struct CheckpointConfig {
    std::uint64_t interval_steps = 250;        // a checkpoint each so many steps (and at step 0 and the last); 0: only those two
    std::uint32_t keep = 3;                    // newest committed checkpoints kept, at least 2
    std::string copy = "auto";                 // auto | snapshot | lazy
    std::uint64_t pool_mib = 0;                // of each worker, for copies; 0: its shard, at most 4096
};

}  // namespace kiban::checkpoint
