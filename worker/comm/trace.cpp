// SPDX-License-Identifier: Apache-2.0
#include "worker/comm/trace.h"

#include <atomic>
#include <mutex>
#include <utility>

namespace kiban::worker {
namespace {

struct Recorder {
    std::atomic<bool> on{false};
    std::mutex mutex;
    std::vector<TraceSpan> spans;
};

Recorder& recorder() {
    static Recorder all;
    return all;
}

}  // namespace

bool tracing() { return recorder().on.load(std::memory_order_relaxed); }

void start_trace() {
    const std::lock_guard lock(recorder().mutex);
    recorder().spans.clear();
    recorder().on = true;
}

void trace(const char* track, std::string name, std::uint64_t step, TraceClock::time_point begin,
           TraceClock::time_point end) {
    const std::lock_guard lock(recorder().mutex);
    if (!recorder().on || recorder().spans.size() >= kMostTraceSpans) return;
    recorder().spans.push_back({track, std::move(name), step, begin, end});
}

std::vector<TraceSpan> end_trace() {
    const std::lock_guard lock(recorder().mutex);
    recorder().on = false;
    return std::exchange(recorder().spans, {});
}

}  // namespace kiban::worker
