// SPDX-License-Identifier: Apache-2.0
// `kiban report`: one self-contained HTML page (no network, no script from elsewhere) with plots of one or several
// runs.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "monitoring/curve.h"

namespace kiban::monitoring {

struct ReportRun {
    std::string name;
    Curve curve;
    std::vector<std::pair<std::string, std::string>>
        facts;                        // shown as a table: model, tokens, workers, last checkpoint, ...
    std::vector<std::string> events;  // journal lines, oldest first
};

/// Loss (training and holdout), learning rate, gradient norm and throughput, each over steps; the events found on the
/// curve (monitoring/DETECTORS.md) as marks of a single run and as a list of each. All text is HTML-escaped.
/// Published atomically; IoError when it cannot be written.
void write_report(const std::filesystem::path& file, const std::vector<ReportRun>& runs);

}  // namespace kiban::monitoring
