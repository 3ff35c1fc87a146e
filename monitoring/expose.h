// SPDX-License-Identifier: Apache-2.0
// The metrics of all runs under some directories, for a Prometheus that cannot reach the machines they run on: each
// coordinator writes what it serves into its run directory (metrics.prom), and this reads it from there. The series are
// those of the coordinators, with their labels; since one process serves them, `instance` stays the same across
// restarts and moves of a run.
//
// What a coordinator has not renewed for a minute is not served: a process that is gone has no workers that are up. It
// counts as lost unless the run had said that it ended (METRICS.md, kiban_exposed_runs). Of two live runs with one name
// the one served first stays until it is silent. Errors while reading are logged and counted, never thrown.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace prometheus {
class Collectable;
}

namespace kiban::monitoring {

inline constexpr const char* kMetricsFile = "metrics.prom";  // in a run directory
inline constexpr double kMetricsFileSeconds = 10;            // between renewals
inline constexpr double kSilentSeconds = 60;                 // of a run that is no longer served

class ExposedRuns {
  public:
    /// Run directories, or directories of them; those that come later are found too. IoError when one is not there.
    explicit ExposedRuns(std::vector<std::filesystem::path> roots, double silent_seconds = kSilentSeconds);
    ~ExposedRuns();

    /// Looks now. Prometheus text format 0.0.4: the runs' own, and kiban_exposed_runs by state.
    std::string text() const;
    std::shared_ptr<prometheus::Collectable> collectable() const;

  private:
    class Collector;
    std::shared_ptr<Collector> collector_;
};

}  // namespace kiban::monitoring
