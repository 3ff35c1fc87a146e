// SPDX-License-Identifier: Apache-2.0
// Notices when workers live and do not move. Every heartbeat says where its worker is (phase, step, collective) and how
// many micro-batches it has begun; the time since that changed last is the worker's progress clock.
//
// A hang is when no worker's clock is within the limit of its phase: workers wait for each other, so one that is slow
// for a good reason excuses those that wait for it. Limits of a step adapt to the steps that were measured; a disk may
// be slow. Pure: the clock is an argument (monotonic seconds of the coordinator, never a worker's).
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/job/survive_config.h"
#include "coordinator/run/membership.h"

namespace kiban::coordinator {

/// How long steps take, over the last ones; goes on from attempt to attempt.
class StepPace {
  public:
    void add(double seconds);
    /// The work of a step: not the evaluation after it, nor what it waited for the disk, which has a limit of its own.
    void add(const StepReport& report);
    /// 99th percentile; 0: no step yet.
    double slowest_usual() const;

  private:
    static constexpr std::size_t kMost = 256;
    std::deque<double> seconds_;
};

struct Hang {
    int suspect = 0;  // the rank that is most behind, or silent
    double seconds = 0;
    std::string text;  // for a person: who stands where
};

class ProgressWatch {
  public:
    ProgressWatch(const SuperviseConfig& config, int workers, double now);

    void heartbeat(int rank, const Heartbeat& heartbeat, double now);
    /// A step was done. The first ones of an attempt are slow, whatever the pace of those before.
    void step_done() { ++steps_; }
    /// This process did not run for a while: it cannot tell what the workers did meanwhile.
    void excuse(double seconds);
    /// Seconds without progress after which a worker in this phase is beyond its limit.
    double limit(const std::string& phase, const StepPace& pace) const;
    /// nullopt: somebody moves, or has time left; before all workers are in, and once all have finished, too. Who has
    /// finished waits for nobody, and nobody for it.
    std::optional<Hang> look(const std::vector<Member>& members, const StepPace& pace, double now) const;

  private:
    struct Clock {
        std::string phase;
        std::uint64_t step = 0;
        std::uint64_t collective = 0;
        std::uint64_t work = 0;
        double moved = 0;
    };
    SuperviseConfig config_;
    std::vector<Clock> clocks_;  // by rank
    std::uint64_t steps_ = 0;    // done in this attempt
};

/// "worker 1 (process 7 on h1) in 'reduce' of step 5, collective 31, ..." for all that have not
/// finished, the suspect first.
Hang describe_hang(const std::vector<Member>& members, double stood_seconds, double now);

/// Names workers whose own time in a step is far above the others'.
class Stragglers {
  public:
    Stragglers(double ratio, int workers) : ratio_(ratio), ranks_(static_cast<std::size_t>(workers)) {}

    void heartbeat(int rank, const Heartbeat& heartbeat, double now);
    /// Own seconds in a step, over the last ten seconds and ten steps at least; nullopt: not known yet.
    std::optional<double> own_seconds(int rank) const { return ranks_.at(static_cast<std::size_t>(rank)).seconds; }
    /// Above ratio times the median of the other workers, in three such spans in a row.
    bool is_straggler(int rank) const { return ranks_.at(static_cast<std::size_t>(rank)).above >= kSpans; }

  private:
    static constexpr int kSpans = 3;
    struct Rank {
        double from = 0;  // when the present span began
        double busy_seconds = 0;
        std::uint64_t busy_steps = 0;
        std::optional<double> seconds;
        int above = 0;  // spans in a row
    };
    bool is_above(std::size_t rank) const;

    double ratio_;
    std::vector<Rank> ranks_;
};

}  // namespace kiban::coordinator
