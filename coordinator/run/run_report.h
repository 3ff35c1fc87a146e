// SPDX-License-Identifier: Apache-2.0
// What the files of a run directory say about a run, for a report page. Reads only; one thread.
//
// Errors: those of the files' own readers. What is not there is left out.
#pragma once

#include <optional>
#include <string>

#include "coordinator/run/run_directory.h"
#include "monitoring/report.h"

namespace kiban::coordinator {

/// What a worker costs for an hour, in words of the reader's own ("2.10 EUR"); nullopt: not known.
struct WorkerPrice {
    double amount = 0;
    std::string unit;
};

/// `flops_per_token`: forward and backward; 0: not known. Facts are the caller's.
monitoring::ReportRun report_of_files(const RunDirectory& directory, const std::string& name, double flops_per_token,
                                      const std::optional<WorkerPrice>& price = std::nullopt);

}  // namespace kiban::coordinator
