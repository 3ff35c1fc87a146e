// SPDX-License-Identifier: Apache-2.0
// The run directory that a person named on the command line, and what its files say about it. Reads only; one thread.
//
// Errors: IoError when it is not there or is no run directory; the errors of the files' own readers.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "coordinator/config/run_file.h"
#include "coordinator/run/run_directory.h"
#include "coordinator/run/run_order.h"
#include "coordinator/run/run_report.h"
#include "coordinator/run/status.h"
#include "monitoring/report.h"

namespace kiban::coordinator {

RunDirectory named_run(const std::filesystem::path& directory);

/// Whether the directory is, or was meant to be, one checkpoint.
bool is_checkpoint(const std::filesystem::path& directory);

/// run.name of the run file; the directory's name when there is none yet.
std::string name_of(const RunDirectory& directory);

enum class Life {
    none,     // no coordinator ever had it
    ended,    // finished, failed or stopped, and said so
    running,  // the coordinator lives
    dead,     // the coordinator is gone without a word
    unknown,  // the coordinator is on another machine
};

struct RunView {
    RunStatus status;  // of status.json, brought up to date from curve and checkpoints where no coordinator does
    Life life = Life::none;
    double silence_seconds = 0;  // since the status was written
};
RunView view_run(const RunDirectory& directory);

/// All that is known of a run, for a report page.
monitoring::ReportRun report_of(const RunDirectory& directory, const std::optional<WorkerPrice>& price);

}  // namespace kiban::coordinator
