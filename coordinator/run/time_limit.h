// SPDX-License-Identifier: Apache-2.0
// How long this coordinator may still run: until its Slurm job ends, or as the run file has it. A value; any thread.
#pragma once

#include <limits>
#include <string>

#include "coordinator/job/train_config.h"
#include "coordinator/launch/environment.h"

namespace kiban::coordinator {

class TimeLimit {
  public:
    TimeLimit() = default;  // none
    /// `end`: on the clock of monotonic_seconds().
    explicit TimeLimit(double end) : end_(end) {}

    /// The earlier one of `job_end` (seconds since 1970) and launch.time_limit_minutes from now on. What is no number
    /// counts as none.
    static TimeLimit of(const LaunchConfig& launch, const std::string& job_end, double wall_now, double now);

    /// Infinite without a limit.
    double seconds_left(double now) const { return end_ - now; }
    /// Whether one must leave now, where saving takes `seconds_to_leave`: a margin is kept for the workers' end.
    bool is_up(double now, double seconds_to_leave) const {
        return seconds_left(now) < seconds_to_leave + kMarginSeconds;
    }

    /// Whether one must leave now, saved or not: what is under way ends with the job anyway.
    bool is_over(double now) const { return seconds_left(now) < kLastSeconds; }

    static constexpr double kMarginSeconds = 15;
    static constexpr double kLastSeconds = 4;  // for the workers to be ended, the journal, and the place in the queue

  private:
    double end_ = std::numeric_limits<double>::infinity();
};

/// When the Slurm job that this process is part of ends: SLURM_JOB_END_TIME where Slurm sets it (23.02 and later), else
/// what squeue says. Empty: in no job, or its time has no end.
std::string job_end_time(const Environment& environment);

}  // namespace kiban::coordinator
