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
    RecordedTrace trace;
    std::size_t most = 0;
};

Recorder& recorder() {
    static Recorder all;
    return all;
}

}  // namespace

bool tracing() { return recorder().on.load(std::memory_order_relaxed); }

void start_trace(std::size_t most) {
    const std::lock_guard lock(recorder().mutex);
    recorder().trace = {};
    recorder().most = most;
    recorder().on = true;
}

void trace(const char* track, std::string name, std::uint64_t step, TraceClock::time_point begin,
           TraceClock::time_point end) {
    const std::lock_guard lock(recorder().mutex);
    if (!recorder().on) return;
    RecordedTrace& all = recorder().trace;
    if (all.spans.size() >= recorder().most) {
        ++all.left_out;
    } else {
        all.spans.push_back({track, std::move(name), step, begin, end});
    }
}

RecordedTrace end_trace() {
    const std::lock_guard lock(recorder().mutex);
    recorder().on = false;
    return std::exchange(recorder().trace, {});
}

}  // namespace kiban::worker
