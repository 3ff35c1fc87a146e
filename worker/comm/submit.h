// SPDX-License-Identifier: Apache-2.0
// How a verb gets to the thread that calls MPI. Internal to worker/comm.
#pragma once

#include <functional>

#include "worker/comm/handle.h"

namespace kiban::worker {

/// A piece of work for the thread that calls MPI.
struct Work {
    std::function<void()> start;
    /// For work that goes on after start(): whether it has ended; waits for the end when told to. Empty: it has.
    std::function<bool(bool wait)> ended = {};
};

/// Whether a communication thread runs and this is another one.
bool must_submit();

/// Queues the work; without a communication thread, starts it here and now.
Handle submit(Work work);

/// Queues work that nobody waits for, however full the queue is. For destructors: must not throw.
void submit_and_forget(std::function<void()> start) noexcept;

/// Runs `verb` where MPI may be called and returns, or throws, what it does.
template <typename Verb>
void in_turn(const Verb& verb) {
    if (must_submit()) {
        submit({std::cref(verb)}).wait();
    } else {
        verb();
    }
}

}  // namespace kiban::worker
