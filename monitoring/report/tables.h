// SPDX-License-Identifier: Apache-2.0
// The parts of a report that are text and bars. Private to monitoring/. Pure; any thread. All text is HTML-escaped.
#pragma once

#include <string>
#include <vector>

#include "monitoring/report/data.h"

namespace kiban::monitoring {

/// One row a run: position, loss, speed, time.
std::string summary_table(const std::vector<ReportRun>& runs);

/// A bar of phases for each rank; of more than 64, those that waited least for the others, and so were the slowest.
/// Empty when nothing is known.
std::string time_by_rank(const ReportRun& run);

/// Facts, cost, corpus, checkpoints, phases, events: each a part that opens. `open`: the first are.
std::string details_of(const ReportRun& run, const CurveStory& story, bool open);

}  // namespace kiban::monitoring
