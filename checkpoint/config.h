// SPDX-License-Identifier: Apache-2.0
// Section [checkpoint] of the run file.
#pragma once

#include <cstdint>

namespace kiban::checkpoint {

struct CheckpointConfig {
    std::uint64_t interval_steps =
        250;                 // a checkpoint each so many steps (and at step 0 and the last); 0: only those two
    std::uint32_t keep = 3;  // newest committed checkpoints kept, at least 2
};

}  // namespace kiban::checkpoint
