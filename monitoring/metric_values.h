// SPDX-License-Identifier: Apache-2.0
// Values that labels and histograms may take. Internal to run_metrics*.cpp.
#pragma once

#include <prometheus/histogram.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace kiban::monitoring {

inline constexpr std::array<std::string_view, 9> kAxes = {"world", "data",     "shard",   "replica", "tensor",
                                                          "layer", "pipeline", "context", "tied"};
inline constexpr std::array<std::string_view, 11> kWorkerPhases = {"starting", "preflight", "loading", "data",
                                                                   "forward",  "backward",  "reduce",  "optimizer",
                                                                   "evaluate", "save",      "done"};
inline constexpr std::array<std::string_view, 6> kOperations = {"reduce_scatter", "all_gather", "all_reduce",
                                                                "broadcast",      "send",       "receive"};

// A label's value that comes from outside: one of a closed set, so that no caller can make the number of series grow.
template <std::size_t Size>
std::string known_or_other(const std::array<std::string_view, Size>& known, const std::string& value) {
    return std::find(known.begin(), known.end(), value) != known.end() ? value : "other";
}

inline prometheus::Histogram::BucketBoundaries step_buckets() {
    return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100};
}

inline prometheus::Histogram::BucketBoundaries checkpoint_buckets() {
    return {0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600};
}

inline double now_seconds() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace kiban::monitoring
