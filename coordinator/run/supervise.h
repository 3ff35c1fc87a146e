// SPDX-License-Identifier: Apache-2.0
// Attempt after attempt until the work is done or the policy says stop. Shared by all modes. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "coordinator/config/run_file.h"
#include "coordinator/run/attempt.h"
#include "coordinator/run/board.h"
#include "coordinator/run/console.h"
#include "coordinator/run/last_moment.h"
#include "coordinator/run/lease.h"
#include "coordinator/run/policy.h"
#include "coordinator/run/run_directory.h"
#include "coordinator/run/stop_signals.h"

namespace kiban::coordinator {

/// What the parts of a coordinator share. Everything outlives the attempts.
struct Session {
    RunFile& run_file;  // changed between attempts alone, by what an operator asks
    const RunDirectory& directory;
    std::string run_id;
    Lease& lease;
    StopSignals& signals;
    Board& board;
    Console& console;
    RequestBox& requests;
    TimeLimit time_limit = {};
    std::optional<Request> extension = {};      // asked for, not yet in the run file
    bool attempt_used = false;                  // whether the lease's attempt number has been given to an attempt
    StepPace pace = {};                         // of all attempts
    std::set<std::string> excluded_hosts = {};  // that workers are started without (hosts_in_use.h)
    int asked_workers = 0;                      // launch.workers as the user has it; fewer may be left
    LastMoment* last_moment = nullptr;          // acts when the time is up (pretrain.cpp); none: nobody does
};

struct Outcome {
    Decision decision;
    AttemptEnd end;  // of the last attempt
};

/// Something durable was added in this start of the coordinator.
void note_progress(Session& session);
/// It is decided that the job does not go back into the queue, whatever holds the coordinator up before it has left.
void stay_away(Session& session, int exit_code);

/// Refuses what is still open, once the run has come to its end; stops are what was asked for.
void answer_open_requests(RequestBox& requests, const std::string& reason, bool stopped);

/// Tells in status, metrics and, with `in_journal`, the journal what was decided after an attempt ended so. What the
/// disk refuses is in the log alone.
void note_decision(Session& session, const Decision& decision, const AttemptEnd& end, bool in_journal = true);

/// Makes the mode of an attempt; asked anew after each restart.
using ModeMaker = std::function<std::unique_ptr<AttemptMode>(std::uint32_t attempt)>;

/// An I/O error before, in or after an attempt is an end of it. CommError when another coordinator has taken the run.
Outcome supervise(Session& session, const ModeMaker& make_mode);

}  // namespace kiban::coordinator
