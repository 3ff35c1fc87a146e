// SPDX-License-Identifier: Apache-2.0
// Tokens a second and time left, over the last seconds of reports. Pure: the clock is an argument.
#pragma once

#include <cstdint>
#include <deque>

namespace kiban::coordinator {

class Speed {
  public:
    void add(std::uint64_t step, std::uint64_t tokens, double now);
    /// An attempt begins: what came before says nothing about it.
    void restart() { points_.clear(); }
    double tokens_per_second() const;  // 0: not known yet
    /// Seconds until `steps` at the speed of the window; 0: not known yet.
    double seconds_to(std::uint64_t steps) const;

  private:
    struct Point {
        std::uint64_t step;
        std::uint64_t tokens;
        double at;
    };
    std::deque<Point> points_;
};

}  // namespace kiban::coordinator
