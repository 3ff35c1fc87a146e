// SPDX-License-Identifier: Apache-2.0
// How long the other end has been silent, for a loop that looks at it at least every so often. Time in which the loop
// itself did not run (a process that was stopped, a machine that slept) is nobody's silence: the other end may have
// slept with it, and is given the rest of its time to speak. Pure: the clock is an argument (monotonic seconds).
#pragma once

#include <algorithm>

namespace kiban::coordinator {

class Silence {
  public:
    /// Heard at `now`; looked at again within `look_seconds`.
    Silence(double look_seconds, double now) : look_seconds_(look_seconds), heard_(now), looked_(now) {}

    /// Seconds without a word, 0 if one was `heard` since the last look.
    double look(double now, bool heard) {
        const double pause = std::max(0.0, now - looked_ - look_seconds_);
        looked_ = now;
        heard_ = heard ? now : heard_ + pause;
        return now - heard_;
    }

  private:
    double look_seconds_;
    double heard_;
    double looked_;
};

}  // namespace kiban::coordinator
