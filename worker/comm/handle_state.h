// SPDX-License-Identifier: Apache-2.0
// What a Handle and the thread that calls MPI share. Internal to worker/comm.
#pragma once

#include <condition_variable>
#include <exception>
#include <mutex>
#include <utility>

#include "worker/comm/submit.h"

namespace kiban::worker {

struct Handle::State {
    explicit State(Work given) : work(std::move(given)) {}

    // For the thread that calls MPI. Each is true once the operation has ended, well or not; then `work` is gone.
    bool start() {
        return attempt([this] {
            work.start();
            return !work.ended;
        });
    }
    bool progress(bool to_the_end) {
        return attempt([this, to_the_end] { return work.ended(to_the_end); });
    }

    /// For the thread that waits. Throws what the work threw.
    void wait() {
        std::unique_lock lock(mutex);
        changed.wait(lock, [this] { return done; });
        if (error) std::rethrow_exception(error);
    }

    bool has_ended() {
        const std::lock_guard lock(mutex);
        return done;
    }

    Work work;
    bool queued = false;  // otherwise the waiting thread brings it to its end

  private:
    template <typename Step>
    bool attempt(const Step& step) {
        std::exception_ptr thrown;
        try {
            if (!step()) return false;
        } catch (...) {
            thrown = std::current_exception();
        }
        work = {};  // what it holds is let go before anyone is told
        const std::lock_guard lock(mutex);
        error = thrown;
        done = true;
        changed.notify_all();
        return true;
    }

    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
    std::exception_ptr error;
};

}  // namespace kiban::worker
