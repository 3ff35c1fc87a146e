// SPDX-License-Identifier: Apache-2.0
// Section [checkpoint] of the run file.
#pragma once

#include <cstdint>
#include <string>

namespace kiban::checkpoint {

struct StepInterval {
    std::uint64_t steps = 250;  // 0: never
    bool automatic = false;     // chosen while the run goes on; `steps` means nothing then
    bool operator==(const StepInterval&) const = default;
};

struct CheckpointConfig {
    StepInterval interval_steps;               // a checkpoint each so many steps (and at step 0 and the last)
    std::uint32_t keep = 3;                    // newest committed checkpoints kept, at least 2
    std::string copy = "auto";                 // auto | snapshot | lazy
    std::uint64_t pool_mib = 0;                // of each worker, for copies; 0: its shard, at most 4096
    double max_mib_per_second = 0;             // of each worker, for periodic checkpoints; 0: no limit
    double spread = 0.25;                      // of the time between periodic checkpoints, that writing may take
    std::string io = "direct";                 // direct | cached
    std::uint32_t max_failures = 3;            // saves that may fail in a row
    std::uint64_t min_interval_steps = 10;     // of an automatic interval
    std::uint64_t max_interval_steps = 10000;  // likewise
    double hours_between_failures = 24;        // expected before any was seen
    std::uint64_t milestone_steps = 0;         // one checkpoint each so many steps is kept for ever; 0: none
    std::uint64_t promote_after_steps = 100;   // healthy steps that prove a checkpoint good
    double scrub_interval_hours = 24;          // between passes that re-read the kept checkpoints; 0: none
    double scrub_megabytes_per_second = 50;    // at most, while re-reading
};

}  // namespace kiban::checkpoint
