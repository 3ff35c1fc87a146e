// SPDX-License-Identifier: Apache-2.0
// How fast a shard is written beside training: by a limit of speed, and by the share of a processor that writing takes.
// Internal to this room. Pure but for thread_seconds().
#pragma once

#include <chrono>
#include <cstdint>

namespace kiban::checkpoint {

/// Processor time of the calling thread.
double thread_seconds();

class Pace {
  public:
    using Clock = std::chrono::steady_clock;

    /// `bytes_per_second`: at most; 0: no limit. `spread_seconds`: what writing `bytes` may take from `now` on to stay
    /// below a twentieth of a processor; 0: none of it.
    Pace(std::uint64_t bytes, double bytes_per_second, double spread_seconds, Clock::time_point now);

    /// Of one write.
    std::uint64_t chunk_bytes() const;
    /// A chunk was written, from `began` on, with so much processor time: when the next may begin. `spread`: whether
    /// the share of a processor counts already.
    Clock::time_point next(Clock::time_point began, std::uint64_t bytes, double worked, bool spread);

  private:
    std::uint64_t bytes_;
    double bytes_per_second_;
    double spread_seconds_;
    Clock::time_point start_;
    std::uint64_t written_ = 0;
};

}  // namespace kiban::checkpoint
