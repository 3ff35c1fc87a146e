// SPDX-License-Identifier: Apache-2.0
// The CPUs that this process may use, and the threads of a worker that follow from them. Any thread.
#pragma once

#include <optional>

namespace kiban::coordinator {

/// Of the affinity mask (a container's or Slurm's share counts, not the machine's); at least 1.
int usable_cpus();

/// What one worker may use of a Slurm job: SLURM_CPUS_PER_TASK, else of SLURM_JOB_CPUS_PER_NODE ("8(x2),4") the
/// smallest node's CPUs over the workers of one node; at least 1. nullopt where both are missing (nullptr) or not
/// understood. Pure.
std::optional<int> threads_in_job(int workers, const char* cpus_per_task, const char* cpus_per_node);

/// threads_in_job() of this process's environment; outside of a job usable_cpus() over the workers, at least 1.
int default_threads(int workers);

}  // namespace kiban::coordinator
