// SPDX-License-Identifier: Apache-2.0
// Refuses a model that this process may not hold, before memory is asked for: the plan of its part against the limits
// that the operating system sets for one process.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/job/plan.h"

namespace kiban::worker {

struct ProcessLimit {
    std::string name;         // such as "RLIMIT_AS (ulimit -v)"
    std::uint64_t bytes = 0;  // the limit
    std::uint64_t used = 0;   // of it, now
};

/// The limits of this process's address space and data, as far as they are set.
std::vector<ProcessLimit> process_limits();

/// What is wrong with holding `memory` under `limit`, in words with the numbers; nullopt when it fits.
std::optional<std::string> beyond(const coordinator::MemoryPlan& memory, const ProcessLimit& limit);

/// ConfigError when this worker's part of the model does not fit into one of process_limits(). `rank` of the world.
void refuse_beyond_limits(const coordinator::PlanInput& input, int rank);

}  // namespace kiban::worker
