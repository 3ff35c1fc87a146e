// SPDX-License-Identifier: Apache-2.0
// Hosts that a step may run on, as far as the launcher's environment tells.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "coordinator/launch/environment.h"
#include "coordinator/launch/launcher.h"

namespace kiban::coordinator {

/// Workers that each host has room for. mpirun: the host file of the environment (OMPI_MCA_orte_default_hostfile: "h1
/// slots=2" a line). srun, and mpirun without such a file: the nodes of the allocation (SLURM_JOB_NODELIST,
/// SLURM_JOB_CPUS_PER_NODE, and SLURM_NTASKS_PER_NODE at most). Empty: not known.
std::map<std::string, int> room_on_hosts(LauncherKind launcher, const Environment& environment, int threads_per_worker);

/// "n1" of "n1.cluster.org": a host calls itself by one name, the launcher by another. A number keeps its dots.
std::string short_host(const std::string& name);

/// Whether `hosts` has this one, whichever of its names it is called by.
bool holds_host(const std::set<std::string>& hosts, const std::string& host);

/// Workers that the hosts besides those that are `out` have room for.
int room_left(const std::map<std::string, int>& room, const std::set<std::string>& out);

/// The names of "n[1-3,07],m" in order. Empty when it is no such list.
std::vector<std::string> expand_node_list(const std::string& list);

}  // namespace kiban::coordinator
