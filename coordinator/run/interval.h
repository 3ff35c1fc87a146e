// SPDX-License-Identifier: Apache-2.0
// How many steps to train between checkpoints, where the run file says "auto": as many as cost least over a long time,
// by what a save costs and how often the run fails (Young 1974, Daly 2006: T = sqrt(2 C M), in which C is the time that
// a save takes from training and M the time between failures).
//
// Pure: no clock. One thread.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <vector>

#include "checkpoint/config.h"

namespace kiban::coordinator {

struct FailureRecord {
    double trained_seconds = 0;
    std::uint32_t failures = 0;  // attempts that ended before the run was finished or asked to stop
};
/// What the journal says of the attempts before this one, by wall time; a clock that went back counts as no time.
FailureRecord failures_in(const std::vector<nlohmann::json>& journal);

/// M: what was expected counts as one failure in that time.
double seconds_between_failures(double expected_seconds, const FailureRecord& record);

/// What a save costs training, measured: the time that steps stand still for it, and how much longer they take while
/// shards are written.
class SaveCost {
  public:
    void save_began();
    void save_ended();
    /// The save that is under way will not end.
    void forget() { writing_ = open_ = false; }
    /// One step's report: seconds without `stall`, the part spent on checkpoints since the report before. Whether it
    /// completes what a save costs.
    bool step(double seconds, double stall);

    /// Moving averages; nullopt before a step, or a save, was seen from its beginning to its end.
    std::optional<double> step_seconds() const { return step_seconds_; }
    std::optional<double> save_seconds() const { return save_seconds_; }

  private:
    bool writing_ = false;
    bool open_ = false;  // a save's cost is being added up
    double cost_ = 0;    // stall
    double slower_ = 0;  // of the steps beside the writing, over the usual; their noise cancels
    std::optional<double> step_seconds_;
    std::optional<double> save_seconds_;
};

struct IntervalInput {
    double save_seconds = 0;     // C
    double failure_seconds = 0;  // M
    double step_seconds = 0;
    double write_seconds = 0;  // from the request to the commit: the next save cannot begin before
};
/// T in steps, within the run file's bounds.
std::uint64_t interval_steps(const IntervalInput& input, const checkpoint::CheckpointConfig& config);

}  // namespace kiban::coordinator
