// SPDX-License-Identifier: Apache-2.0
// Where verbs are counted as they run. Internal to worker/comm.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include "worker/comm/trace.h"

namespace kiban::worker {

enum class Operation { reduce_scatter, all_gather, all_reduce, broadcast, send, receive };
constexpr std::size_t kOperations = 6;

struct TrafficCell {
    std::atomic<std::uint64_t> calls{0};
    std::atomic<std::uint64_t> bytes{0};
    std::atomic<std::uint64_t> nanoseconds{0};
};
using TrafficCells = std::array<TrafficCell, kOperations>;

/// The cells of all groups of that name, for the life of the process.
TrafficCells& traffic_of(const std::string& group);

/// A span of the trace that is on, named by operation and group.
void trace_exchange(const TrafficCells& cells, Operation operation, TraceClock::time_point begin,
                    TraceClock::time_point end);

/// One call: counted when it ends, well or not.
class TrafficScope {
  public:
    TrafficScope(TrafficCells& cells, Operation operation, std::uint64_t bytes)
        : cells_(cells), operation_(operation), bytes_(bytes) {}
    ~TrafficScope() {
        const auto end = TraceClock::now();
        const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(end - start_).count();
        TrafficCell& cell = cells_[static_cast<std::size_t>(operation_)];
        cell.calls.fetch_add(1, std::memory_order_relaxed);
        cell.bytes.fetch_add(bytes_, std::memory_order_relaxed);
        cell.nanoseconds.fetch_add(static_cast<std::uint64_t>(nanoseconds), std::memory_order_relaxed);
        if (tracing()) trace_exchange(cells_, operation_, start_, end);
    }
    TrafficScope(const TrafficScope&) = delete;
    TrafficScope& operator=(const TrafficScope&) = delete;

  private:
    TrafficCells& cells_;
    Operation operation_;
    std::uint64_t bytes_;
    TraceClock::time_point start_ = TraceClock::now();
};

}  // namespace kiban::worker
