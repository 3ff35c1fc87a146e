// SPDX-License-Identifier: Apache-2.0
// What decides whether workers will find each other, the coordinator and the run directory, read from this machine; and
// what is wrong with it, said before a job fails for it. Reading takes a moment; explain() is pure.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/job/preflight.h"
#include "coordinator/launch/environment.h"

namespace kiban::coordinator {

struct LaunchFacts {
    bool has_srun = false;
    bool has_mpirun = false;
    std::string pmi_plugins;              // what `srun --mpi=list` says; empty: not asked, or it failed
    int nodes = 1;                        // of the Slurm job; 1 outside of one
    bool in_step = false;                 // inside a Slurm step, not in the batch script of a job
    std::string open_mpi_rank;            // OMPI_COMM_WORLD_SIZE: this process was itself started by mpirun
    std::string interface;                // launch.control_interface
    std::vector<std::string> interfaces;  // of this machine that are up, with their IPv4 addresses: "eth0 10.0.0.1"
    std::string directory;
    std::string file_system;                   // that holds it: ext4, tmpfs, nfs, ...
    std::optional<double> file_clock_seconds;  // the directory's clock less this machine's; nullopt: not measured
};

LaunchFacts launch_facts(const std::filesystem::path& directory, const std::string& interface,
                         const Environment& environment);

/// Why workers on other nodes cannot reach a coordinator that listens on `interface`; empty: they can.
std::string fault_of_interface(const std::string& interface, int nodes);

/// Of the Slurm job that this process is part of; 1 outside of one.
int nodes_of_job(const Environment& environment);

/// In the order PMI, started by whom, interface, directory, clock.
std::vector<Finding> explain(const LaunchFacts& facts);

}  // namespace kiban::coordinator
