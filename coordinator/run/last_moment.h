// SPDX-License-Identifier: Apache-2.0
// The last second of a job whose time is up. A coordinator that a disk holds up, in a commit or in an fsync of its
// journal, cannot leave by itself, and a job that Slurm ends for its time does not come back: so a thread acts then
// that waits for nothing else.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "coordinator/run/time_limit.h"

namespace kiban::coordinator {

class LastMoment {
  public:
    static constexpr double kSeconds = 1;  // of TimeLimit::kLastSeconds, which have not been enough then

    /// Calls `act` on a thread of its own when so much is left, unless cancelled before; never without a limit.
    LastMoment(TimeLimit limit, std::function<void()> act);
    ~LastMoment() { cancel(); }
    LastMoment(const LastMoment&) = delete;
    LastMoment& operator=(const LastMoment&) = delete;

    /// It is not called any more. May be called again.
    void cancel();

  private:
    void wait();

    const TimeLimit limit_;
    const std::function<void()> act_;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool is_cancelled_ = false;
    std::thread thread_;
};

}  // namespace kiban::coordinator
