// SPDX-License-Identifier: Apache-2.0
// Which rank ended a step, and which hosts are gone, as the launcher's last words have it.
#pragma once

#include <optional>
#include <set>
#include <string>

namespace kiban::coordinator {

struct FirstDeath {
    int rank = -1;
    std::string host;  // empty: not said
};

/// Of mpirun ("process rank 1 with PID 7 on node h1 exited on signal 9") or srun ("error: n1: task 3: Killed"); the
/// first one named. nullopt: neither.
std::optional<FirstDeath> first_death(const std::string& launcher_errors);

/// Hosts that are gone with all that ran on them: of srun ("error: Node failure on n2", a launch that failed there), of
/// mpirun (a daemon of its own that it lost, a remote shell that found no host).
std::set<std::string> failed_hosts(const std::string& launcher_errors);

}  // namespace kiban::coordinator
