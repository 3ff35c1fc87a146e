// SPDX-License-Identifier: Apache-2.0
// SIGINT, SIGTERM, SIGUSR1 and SIGUSR2 as something to poll: no handler runs, so nothing happens in one.
//
// Make it before any other thread of the process, so that all inherit the blocked signals. Restores the mask when it
// goes.
#pragma once

#include <csignal>
#include <optional>

namespace kiban::coordinator {

class StopSignals {
  public:
    StopSignals();  // IoError when the system has no signalfd
    ~StopSignals();
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;

    int descriptor() const { return descriptor_; }
    /// The next signal that has come; nullopt when none.
    std::optional<int> take();
    /// Waits at most so long; true when a signal has come (and stays to be taken).
    bool wait(double seconds) const;

  private:
    sigset_t previous_{};
    int descriptor_ = -1;
};

/// Of those with which a scheduler says that the time is up (SIGUSR1, SIGUSR2): the job goes back into the queue.
inline bool asks_for_requeue(int signal) { return signal == SIGUSR1 || signal == SIGUSR2; }

}  // namespace kiban::coordinator
