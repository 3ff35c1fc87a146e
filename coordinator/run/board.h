// SPDX-License-Identifier: Apache-2.0
// The state of a run as others see it: status.json, metrics and the journal, kept in step. One thread.
#pragma once

#include <filesystem>
#include <memory>
#include <set>
#include <string>

#include "coordinator/run/journal.h"
#include "coordinator/run/membership.h"
#include "coordinator/run/run_directory.h"
#include "coordinator/run/status.h"
#include "monitoring/run_metrics.h"

namespace kiban::coordinator {

class Board {
  public:
    /// ConfigError when `listen` cannot be bound (empty: no /metrics).
    Board(const RunDirectory& directory, const monitoring::RunIdentity& identity, const std::string& listen);

    RunStatus status;  // written at the next tick() at the latest
    Journal journal;
    monitoring::RunMetrics& metrics() { return metrics_; }

    void set_state(const std::string& state, const std::string& message = {});
    /// About once a second: workers into status and metrics, status to disk.
    void tick(const Membership& members);
    void write();

  private:
    void note_straggler(int rank, const Member& member);

    std::set<int> stragglers_;
    std::filesystem::path file_;
    bool unwritten_ = false;  // the last status could not be written
    monitoring::RunMetrics metrics_;
    std::unique_ptr<monitoring::MetricsServer> server_;  // for the whole life of the board
};

}  // namespace kiban::coordinator
