// SPDX-License-Identifier: Apache-2.0
// Which rank ended a step, as its launcher's last words have it.
#pragma once

#include <optional>
#include <string>

namespace kiban::coordinator {

struct FirstDeath {
    int rank = -1;
    std::string host;  // empty: not said
};

/// Of mpirun ("process rank 1 with PID 7 on node h1 exited on signal 9") or srun ("error: n1: task 3: Killed"); the
/// first one named. nullopt: neither.
std::optional<FirstDeath> first_death(const std::string& launcher_errors);

}  // namespace kiban::coordinator
