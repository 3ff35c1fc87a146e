// SPDX-License-Identifier: Apache-2.0
// What a coordinator checks and makes before its first attempt, in the order in which refusals make most sense.
// Internal to this room.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "checkpoint/commit.h"
#include "coordinator/config/run_file.h"
#include "coordinator/run/supervise.h"
#include "data/prepare.h"

namespace kiban::coordinator {

/// Everything a coordinator holds while it drives a run directory.
struct Coordinator {
    /// ConfigError when a live coordinator has the run, unless it is to be taken from it.
    explicit Coordinator(const RunFile& run_file, bool take_over = false);

    RunFile run_file;  // an operator may extend it
    RunDirectory directory;
    data::Preparation preparation;  // refuses bad input before anything is written
    StopSignals signals;
    Lease lease;
    std::string run_id;
    RequestBox requests;
    std::shared_ptr<Console> console;
    std::unique_ptr<Board> board;
    std::unique_ptr<Session> session;
};

/// Of a run whose corpus is not there yet.
monitoring::RunIdentity identity_of(const RunFile& run_file, const std::string& data_digest);
monitoring::RunIdentity identity_of(const RunFile& run_file, const data::Manifest& manifest);

/// Compares the run file with the one that the newest checkpoint was made with. ConfigError names each key that forbids
/// a resume; other changes go to the journal. nullopt: no checkpoint yet. CheckpointError when there are some and all
/// are bad, or when there are none though the curve has steps.
std::optional<checkpoint::CheckpointInfo> check_resume(Coordinator& coordinator, const data::Manifest* prepared);

/// Says how it ended, writes status and journal; returns the exit code. `when_done` is the state after a good end.
int conclude(Coordinator& coordinator, const Outcome& outcome, const char* when_done);

/// work(); what it throws is written into status and journal first, unless another coordinator owns them by now.
int telling_failures(Coordinator& coordinator, const std::function<int()>& work);

}  // namespace kiban::coordinator
