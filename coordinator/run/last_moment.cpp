// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/last_moment.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "coordinator/protocol/wire.h"

namespace kiban::coordinator {

LastMoment::LastMoment(TimeLimit limit, bool may_go_back, Act act)
    : limit_(limit), act_(std::move(act)), may_go_back_(may_go_back) {
    if (std::isfinite(limit_.seconds_left(monotonic_seconds()))) thread_ = std::thread([this] { wait(); });
}

void LastMoment::stay_away(int exit_code) {
    exit_code_ = exit_code;
    stays_away_ = true;
}

void LastMoment::cancel() {
    {
        const std::lock_guard lock(mutex_);
        is_cancelled_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void LastMoment::wait() {
    std::unique_lock lock(mutex_);
    for (;;) {
        const double left = limit_.seconds_left(monotonic_seconds()) - kSeconds;
        if (left <= 0) break;
        const std::chrono::duration<double> pause(std::min(left, 3600.0));
        if (wake_.wait_for(lock, pause, [this] { return is_cancelled_; })) return;
    }
    lock.unlock();
    act_({.goes_back = may_go_back_ && !stays_away_, .exit_code = exit_code_});
}

}  // namespace kiban::coordinator
