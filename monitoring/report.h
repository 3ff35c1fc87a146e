// SPDX-License-Identifier: Apache-2.0
// `kiban report`: one self-contained HTML page (no network, no script from elsewhere) about one or several runs.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "monitoring/curve.h"

namespace kiban::monitoring {

using Facts = std::vector<std::pair<std::string, std::string>>;  // shown as a table

struct ReportRankTime {
    int rank = 0;
    std::string host;
    std::map<std::string, double> seconds;  // by phase (coordinator/protocol/messages.h), all attempts together
};

struct ReportCheckpoint {
    std::uint64_t step = 0;
    std::uint64_t bytes = 0;
    double seconds = 0;  // from the request to the commit
    bool kept = false;   // still there
};

struct ReportSource {
    std::string name;
    std::uint64_t documents = 0;
    std::uint64_t input_bytes = 0;
    std::uint64_t train_tokens = 0;
    std::uint64_t holdout_tokens = 0;
    std::vector<std::pair<std::string, std::uint64_t>> cleaned;  // dropped documents and redacted values, by reason
};

/// What is not known is left empty, and is then not on the page.
struct ReportRun {
    std::string name;
    Curve curve;
    Facts facts;                               // model, tokens, workers, last checkpoint, ...
    std::vector<std::string> events = {};      // journal lines, oldest first
    std::vector<ReportCheckpoint> saves = {};  // oldest first
    std::vector<ReportRankTime> ranks = {};    // where the time went
    std::vector<ReportSource> sources = {};    // of the corpus
    Facts cost = {};
};

/// Loss (training and holdout), learning rate, gradient norm, throughput and tokens over steps, tokens or time, with
/// the events found on the curve (monitoring/DETECTORS.md), restarts, checkpoints and phases; tables of the rest. The
/// script in the page redraws the curves; without it they are there, still, over steps. All text is HTML-escaped.
/// Published atomically; IoError when it cannot be written.
void write_report(const std::filesystem::path& file, const std::vector<ReportRun>& runs);

}  // namespace kiban::monitoring
