// SPDX-License-Identifier: Apache-2.0
// Where the threads of this process are, without a debugger and its rights: each writes down its own stack in a signal
// handler (SIGUSR2).
//
// Names are those that the dynamic linker knows. What a thread in uninterruptible sleep, or a stopped process, does is
// not told.
#pragma once

#include <string>

namespace kiban::worker {

/// Installs the handler; before there are threads. Loads what backtrace() needs, so that the handler allocates nothing.
void prepare_stacks();

/// The stacks of all threads, one after the other, at most 64 frames each. Waits at most 100 ms for one that does not
/// answer and two seconds in all. One thread at a time.
std::string stacks_of_all_threads();

}  // namespace kiban::worker
