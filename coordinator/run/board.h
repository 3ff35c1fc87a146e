// SPDX-License-Identifier: Apache-2.0
// The state of a run as others see it: status.json, metrics and the journal, kept in step. One thread.
#pragma once

#include <filesystem>
#include <functional>
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
    /// ConfigError when `listen` cannot be bound (empty: no /metrics); the default one, which several runs on a node
    /// may have, gives way to a free port. While it lives, RUN/targets.json tells Prometheus's file_sd where to scrape;
    /// without /metrics there is none. `owns_run`: false once another coordinator has the run, whose files this one
    /// then leaves alone; asked by the destructor too, on this thread.
    Board(
        const RunDirectory& directory, const monitoring::RunIdentity& identity, const std::string& listen,
        std::function<bool()> owns_run = [] { return true; });

    ~Board();
    Board(const Board&) = delete;
    Board& operator=(const Board&) = delete;

    RunStatus status;  // written at the next tick() at the latest
    Journal journal;
    monitoring::RunMetrics& metrics() { return metrics_; }

    void set_state(const std::string& state, const std::string& message = {});
    /// About once a second: workers into status and metrics, status to disk.
    void tick(const Membership& members);
    /// No workers, and the run goes on: what `kiban expose` reads stays new.
    void waiting();
    /// Where the time of the workers went is kept for the report.
    void attempt_over(const Membership& members);
    void write();

  private:
    void take_targets_away();
    void note_straggler(int rank, const Member& member);
    void write_files(const Membership& members);
    void write_metrics();
    void try_to_write(const char* what, const std::function<void()>& write);

    std::set<int> stragglers_;
    RunDirectory directory_;
    double files_written_ = 0;  // monotonic; metrics and the time of the workers, last
    std::filesystem::path file_;
    std::filesystem::path targets_file_;
    std::function<bool()> owns_run_;
    std::set<std::string> unwritten_;  // what could not be written, and that was said
    monitoring::RunMetrics metrics_;
    std::unique_ptr<monitoring::MetricsServer> server_;  // for the whole life of the board
};

}  // namespace kiban::coordinator
