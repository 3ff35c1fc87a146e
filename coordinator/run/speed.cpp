// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/speed.h"

namespace kiban::coordinator {
namespace {

constexpr double kWindowSeconds = 20;

}  // namespace

void Speed::add(std::uint64_t step, std::uint64_t tokens, double now) {
    points_.push_back({step, tokens, now});
    while (points_.size() > 2 && now - points_.front().at > kWindowSeconds) points_.pop_front();
}

double Speed::tokens_per_second() const {
    if (points_.size() < 2) return 0;
    const double seconds = points_.back().at - points_.front().at;
    return seconds > 0 ? static_cast<double>(points_.back().tokens - points_.front().tokens) / seconds : 0;
}

double Speed::seconds_to(std::uint64_t steps) const {
    if (points_.size() < 2 || points_.back().step <= points_.front().step || points_.back().step >= steps) return 0;
    const double seconds = points_.back().at - points_.front().at;
    return seconds * static_cast<double>(steps - points_.back().step) /
           static_cast<double>(points_.back().step - points_.front().step);
}

}  // namespace kiban::coordinator
