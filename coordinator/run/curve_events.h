// SPDX-License-Identifier: Apache-2.0
// The detectors beside a run that trains: each recorded step in; journal lines, metrics and status out. One thread.
//
// Events are a function of the curve record alone. When an attempt goes on from a checkpoint the detectors' state is
// made anew from the surviving rows, so the events are those of a run that was never interrupted; of them the journal
// gets each once: what an attempt before wrote down is not repeated, and what a crash kept from the journal is added.
#pragma once

#include <nlohmann/json.hpp>

#include <set>
#include <string>
#include <vector>

#include "coordinator/run/board.h"
#include "coordinator/run/status.h"
#include "monitoring/curve.h"
#include "monitoring/detect/curve_watch.h"

namespace kiban::coordinator {

class CurveEvents {
  public:
    static constexpr std::size_t kShown = 5;  // in the status

    explicit CurveEvents(Board& board) : board_(board) {}

    /// `rows`: the surviving history up to the step from which the attempt goes on. IoError from the journal.
    void resume(const std::vector<monitoring::CurveRow>& rows, const std::vector<nlohmann::json>& journal);
    /// A row that was appended to the record.
    void add(const monitoring::CurveRow& row);

  private:
    void tell(const monitoring::detect::Event& event);
    void show(const monitoring::detect::Event& event);

    Board& board_;
    monitoring::detect::CurveState state_;
    std::set<std::string> told_;  // in the journal
};

/// Phase and last events of a record without a coordinator.
void show_curve(RunStatus& status, const std::vector<monitoring::CurveRow>& rows);

}  // namespace kiban::coordinator
