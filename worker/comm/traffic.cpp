// SPDX-License-Identifier: Apache-2.0
#include "worker/comm/traffic.h"

#include <map>
#include <mutex>
#include <utility>

#include "worker/comm/traffic_count.h"

namespace kiban::worker {
namespace {

constexpr std::array<const char*, kOperations> kNames = {"reduce_scatter", "all_gather", "all_reduce",
                                                         "broadcast",      "send",       "receive"};

struct Registry {
    std::mutex mutex;
    std::map<std::string, TrafficCells> groups;  // cells never move
};

Registry& registry() {
    static Registry all;
    return all;
}

}  // namespace

TrafficCells& traffic_of(const std::string& group) {
    const std::lock_guard lock(registry().mutex);
    return registry().groups[group];
}

void trace_exchange(const TrafficCells& cells, Operation operation, TraceClock::time_point begin,
                    TraceClock::time_point end) {
    std::string name = kNames[static_cast<std::size_t>(operation)];
    {
        const std::lock_guard lock(registry().mutex);
        for (const auto& [group, its_cells] : registry().groups) {
            if (&its_cells == &cells) name += " " + group;
        }
    }
    trace("exchanges", std::move(name), 0, begin, end);
}

std::vector<TrafficRow> traffic() {
    const std::lock_guard lock(registry().mutex);
    std::vector<TrafficRow> rows;
    for (const auto& [group, cells] : registry().groups) {
        for (std::size_t i = 0; i < kOperations; ++i) {
            const std::uint64_t calls = cells[i].calls.load(std::memory_order_relaxed);
            if (calls == 0) continue;
            rows.push_back({group, kNames[i], calls, cells[i].bytes.load(std::memory_order_relaxed),
                            static_cast<double>(cells[i].nanoseconds.load(std::memory_order_relaxed)) * 1e-9});
        }
    }
    return rows;
}

void reset_traffic() {
    const std::lock_guard lock(registry().mutex);
    for (auto& [group, cells] : registry().groups) {
        for (TrafficCell& cell : cells) {
            cell.calls.store(0, std::memory_order_relaxed);
            cell.bytes.store(0, std::memory_order_relaxed);
            cell.nanoseconds.store(0, std::memory_order_relaxed);
        }
    }
}

}  // namespace kiban::worker
