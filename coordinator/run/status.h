// SPDX-License-Identifier: Apache-2.0
// RUN/status.json: what `kiban status` shows of a live run. Written by the coordinator about once a second and at state
// changes, all or nothing but not fsynced: after a crash of the machine it may be old, and the journal and the curve
// are the truth.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace kiban::coordinator {

struct WorkerStatus {
    int rank = 0;
    std::string host;
    int pid = 0;
    std::string phase;
    std::uint64_t step = 0;
    std::uint64_t resident_bytes = 0;
    std::uint64_t optimizer_bytes = 0;
    double heartbeat_age_seconds = 0;
    double own_seconds = 0;  // in a step, lately, without waiting for others; 0: not known
    bool straggler = false;
};

struct RunStatus {
    std::string run;  // name
    std::string run_id;
    std::string state;    // preparing|prepared|starting|training|saving|restarting|done|failed|stopped
    std::string message;  // why it failed or stopped, or what is prepared
    std::uint32_t attempt = 0;
    std::uint32_t restarts = 0;
    std::uint64_t step = 0;
    std::uint64_t steps = 0;
    std::uint64_t tokens = 0;
    double loss = std::numeric_limits<double>::quiet_NaN();
    double eval_loss = std::numeric_limits<double>::quiet_NaN();
    double learning_rate = 0;
    double tokens_per_second = 0;
    double eta_seconds = 0;
    std::uint64_t tasks_done = 0;  // preparing
    std::uint64_t tasks_total = 0;
    std::uint64_t prepared_bytes = 0;  // of input, as it lies on disk
    std::uint64_t input_bytes = 0;
    std::uint64_t prepared_documents = 0;
    std::uint64_t prepared_tokens = 0;
    double prepared_bytes_per_second = 0;  // since the workers joined
    std::string checkpoint;                // last durable one, directory
    std::uint64_t checkpoint_step = 0;
    bool checkpoint_queued = false;  // another one is under way: copied or being written, not durable
    std::uint64_t checkpoint_queued_step = 0;
    std::string phase;  // of the learning curve: learning|plateau|memorised|early_sign|diverging, empty: no step yet
    std::vector<std::string> curve_events;    // the last ones of the surviving history, oldest first
    std::string decision;                     // after the last attempt that ended: rule and reason; empty: none yet
    std::vector<std::string> excluded_hosts;  // that the workers are started without
    std::uint64_t refused_steps = 0;          // of this process: steps without an update, their rows left out
    std::string metrics;                      // address of /metrics, empty: none
    double wall_time = 0;                     // of this writing, seconds since 1970
    std::string host;                         // of the coordinator
    int pid = 0;
    std::vector<WorkerStatus> workers;
};

void write_status(const std::filesystem::path& file, const RunStatus& status);
/// nullopt when missing or not understood.
std::optional<RunStatus> read_status(const std::filesystem::path& file);
nlohmann::json to_json(const RunStatus& status);

}  // namespace kiban::coordinator
