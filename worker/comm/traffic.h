// SPDX-License-Identifier: Apache-2.0
// What this process has exchanged, by group name and operation.
//
// `bytes` is what this rank has to send at least, by closed form, whatever way the buffers took. With n bytes in all,
// an own part of p bytes (checkpoint::part_of) and N ranks:
//     reduce_scatter   n - p                      each other rank gets its part
//     all_gather       (N - 1) p                  the own part goes to each other rank
//     all_reduce       n - p + (N - 1) p          one after the other
//     broadcast        n, 0 on rank root - 1      a chain from the root on; the rank before the root is its end
//     send             n
//     receive          n                          received, not sent
// `seconds` are spent inside the verb by the thread that calls MPI: waiting for peers counts, waiting in the queue of
// the communication thread does not, and of start_send only the start does. Integers count as all_reduce; gathering
// strings is counted as the verbs it is made of. Groups of one do nothing, and count nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kiban::worker {

struct TrafficRow {
    std::string group;
    std::string operation;  // reduce_scatter, all_gather, all_reduce, broadcast, send or receive
    std::uint64_t calls = 0;
    std::uint64_t bytes = 0;
    double seconds = 0;
};

/// Since the start or the last reset: those with calls, by group, then in the order above. From any thread.
std::vector<TrafficRow> traffic();

/// Back to nothing. A call that is under way may be counted before or after. From any thread.
void reset_traffic();

}  // namespace kiban::worker
