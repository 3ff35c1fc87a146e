// SPDX-License-Identifier: Apache-2.0
// The curves of a report as the page's script reads them. Private to monitoring/. Pure; any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "monitoring/detect/curve_watch.h"
#include "monitoring/report.h"

namespace kiban::monitoring {

using CurveRows = std::vector<CurveRow>;

/// What the detectors make of a run's curve.
struct CurveStory {
    std::vector<detect::Event> events;                            // oldest first
    std::vector<std::pair<std::uint64_t, detect::Phase>> phases;  // each from a step on
};
CurveStory story_of(const CurveRows& rows);

/// Tokens of a row are a running sum, so a rate needs the row of the step before; nullopt where there is none.
std::optional<double> tokens_per_second(const CurveRows& rows, std::size_t index);

/// Steps after which another attempt took over.
std::vector<std::uint64_t> restarts_of(const CurveRows& rows);

/// Whether it is about something going wrong.
bool is_alarm(const detect::Event& event);

/// Half-open ranges of rows that are drawn as one point: each row by itself up to 3000 rows; else as wide as a
/// two-hundredth of the step they are at, and at most a 1300th of the run, so that neither a logarithmic axis nor a
/// linear one lacks points.
std::vector<std::pair<std::size_t, std::size_t>> buckets_of(const CurveRows& rows);

/// A JSON array with an object for each run (its reader is page.js). It can stand in a <script> element: it holds no
/// '<'. Of a bucket of several rows: its last step, and least, mean and largest value.
std::string report_data(const std::vector<ReportRun>& runs, const std::vector<CurveStory>& stories);

}  // namespace kiban::monitoring
