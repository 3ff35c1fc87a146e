// SPDX-License-Identifier: Apache-2.0
// What this process does and when, for `kiban trace-steps`: spans of the training thread's phases, of its passes and of
// exchanges. Recorded only while a trace is on: at other times a span costs one relaxed load. From any thread; times
// are those of the steady clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace kiban::worker {

using TraceClock = std::chrono::steady_clock;

struct TraceSpan {
    const char* track = "";  // phases, passes, exchanges
    std::string name;
    std::uint64_t step = 0;  // 0: not known there
    TraceClock::time_point begin;
    TraceClock::time_point end;
};

bool tracing();
/// Nothing is left of a trace before. At most `most` spans are kept.
void start_trace(std::size_t most);
void trace(const char* track, std::string name, std::uint64_t step, TraceClock::time_point begin,
           TraceClock::time_point end);
struct RecordedTrace {
    std::vector<TraceSpan> spans;  // in the order in which they ended
    std::uint64_t left_out = 0;    // the last ones, beyond what may be kept
};

/// Ends it.
RecordedTrace end_trace();

}  // namespace kiban::worker
