// SPDX-License-Identifier: Apache-2.0
// The state of a run as others see it: status.json, metrics and the journal, kept in step. One thread.
#pragma once

#include <filesystem>
#include <memory>
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
    monitoring::RunMetrics& metrics() { return *metrics_; }

    /// The identity is known better now (the corpus is there): new metrics at the same address.
    void set_identity(const monitoring::RunIdentity& identity);
    void set_state(const std::string& state, const std::string& message = {});
    /// About once a second: workers into status and metrics, status to disk.
    void tick(const Membership& members);
    void write();

  private:
    void serve(const monitoring::RunIdentity& identity);

    std::filesystem::path file_;
    std::string listen_;
    bool unwritten_ = false;  // the last status could not be written
    std::unique_ptr<monitoring::RunMetrics> metrics_;
    std::unique_ptr<monitoring::MetricsServer> server_;
};

}  // namespace kiban::coordinator
