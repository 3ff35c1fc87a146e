// SPDX-License-Identifier: Apache-2.0
// Where the time of each worker went, by phase: RUN/logs/attempt-N/seconds.json, `{format, workers: [{rank, host,
// seconds: {phase: seconds}}]}`. What the workers' heartbeats say, written anew while the attempt goes on and not
// fsynced: what a kill takes is some seconds. One thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "coordinator/run/membership.h"
#include "coordinator/run/run_directory.h"

namespace kiban::coordinator {

struct WorkerTime {
    int rank = 0;
    std::string host;  // in the last attempt
    std::map<std::string, double> seconds;
};

/// Replaces the file of the attempt by what is known of its workers. IoError.
void write_time_spent(const RunDirectory& directory, std::uint32_t attempt, const Membership& members);
/// All attempts from `first` on together, by rank; files that cannot be understood are left out.
std::vector<WorkerTime> read_time_spent(const RunDirectory& directory, std::uint32_t first = 0);

}  // namespace kiban::coordinator
