// SPDX-License-Identifier: Apache-2.0
// The last second of a job whose time is up. A coordinator that a disk holds up, in a commit or in an fsync of its
// journal, cannot leave by itself, and a job that Slurm ends for its time does not come back: so a thread acts then
// that waits for nothing else. Nothing can be looked up at that moment, on the same disk; what it has to know is noted
// before, as it happens.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "coordinator/run/time_limit.h"

namespace kiban::coordinator {

/// How a job is left at last.
struct LastWords {
    bool goes_back = false;  // into the queue
    int exit_code = 75;
};

/// Any thread may call its functions.
class LastMoment {
  public:
    static constexpr double kSeconds = 1;  // of TimeLimit::kLastSeconds, which have not been enough then
    using Act = std::function<void(LastWords)>;

    /// Calls `act` on a thread of its own when so much is left, unless cancelled before; never without a limit. The job
    /// goes back when it `may_go_back` as it is, or something durable is added before.
    LastMoment(TimeLimit limit, bool may_go_back, Act act);
    ~LastMoment() { cancel(); }
    LastMoment(const LastMoment&) = delete;
    LastMoment& operator=(const LastMoment&) = delete;

    /// Something durable was added: the next start begins further on.
    void note_progress() { may_go_back_ = true; }
    /// It is decided that the job does not go back, and how it ends.
    void stay_away(int exit_code);
    /// `act` is not called any more. May be called again.
    void cancel();

  private:
    void wait();

    const TimeLimit limit_;
    const Act act_;
    std::atomic<bool> may_go_back_;
    std::atomic<bool> stays_away_{false};
    std::atomic<int> exit_code_{LastWords().exit_code};
    std::mutex mutex_;
    std::condition_variable wake_;
    bool is_cancelled_ = false;
    std::thread thread_;
};

}  // namespace kiban::coordinator
