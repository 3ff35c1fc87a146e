// SPDX-License-Identifier: Apache-2.0
// The communication thread: while one runs, it alone calls MPI, in the order in which verbs are submitted.
//
// Every verb of every Group then goes through its queue; the blocking ones wait for their turn to end. All ranks submit
// their collectives in the same order, so one thread of a process should submit them. Without a communication thread
// verbs run in the thread that calls them. The thread sleeps while there is nothing to do.
#pragma once

#include <cstddef>
#include <memory>

#include "worker/comm/handle.h"

namespace kiban::worker {

class CommThread {
  public:
    /// One at a time in a process (InternalError), started and ended while no other thread is in a verb. A submission
    /// blocks while `capacity` others wait for their turn.
    explicit CommThread(std::size_t capacity = 64);
    /// Ends what was submitted, then the thread. That waits for peers: on an error path keep it, as MpiEnvironment,
    /// outside of the try block whose handler aborts.
    ~CommThread();
    CommThread(const CommThread&) = delete;
    CommThread& operator=(const CommThread&) = delete;

    // For submit.h.
    static bool must_submit();
    static void push(std::shared_ptr<Handle::State> state, bool even_if_full);

  private:
    class Loop;
    std::unique_ptr<Loop> loop_;
};

}  // namespace kiban::worker
