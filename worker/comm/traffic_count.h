// SPDX-License-Identifier: Apache-2.0
// Where verbs are counted as they run. Internal to worker/comm.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

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

/// One call: counted when it ends, well or not.
class TrafficScope {
  public:
    TrafficScope(TrafficCells& cells, Operation operation, std::uint64_t bytes)
        : cell_(cells[static_cast<std::size_t>(operation)]), bytes_(bytes) {}
    ~TrafficScope() {
        const auto taken = std::chrono::steady_clock::now() - start_;
        const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(taken).count();
        cell_.calls.fetch_add(1, std::memory_order_relaxed);
        cell_.bytes.fetch_add(bytes_, std::memory_order_relaxed);
        cell_.nanoseconds.fetch_add(static_cast<std::uint64_t>(nanoseconds), std::memory_order_relaxed);
    }
    TrafficScope(const TrafficScope&) = delete;
    TrafficScope& operator=(const TrafficScope&) = delete;

  private:
    TrafficCell& cell_;
    std::uint64_t bytes_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace kiban::worker
