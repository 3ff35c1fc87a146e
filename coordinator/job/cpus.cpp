// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/cpus.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <system_error>

namespace kiban::coordinator {
namespace {

// Takes a positive number from the front of `text`.
std::optional<int> take_number(std::string_view& text) {
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || number <= 0) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return number;
}

bool take(std::string_view& text, std::string_view front) {
    if (!text.starts_with(front)) return false;
    text.remove_prefix(front.size());
    return true;
}

struct Nodes {
    int count = 0;
    int fewest_cpus = 0;
};

// "8(x2),4": two nodes of 8 CPUs and one of 4.
std::optional<Nodes> parse_nodes(std::string_view text) {
    Nodes nodes;
    do {
        const auto cpus = take_number(text);
        std::optional<int> times = 1;
        if (cpus && take(text, "(x")) {
            times = take_number(text);
            if (!take(text, ")")) return std::nullopt;
        }
        if (!cpus || !times) return std::nullopt;
        nodes.fewest_cpus = nodes.count == 0 ? *cpus : std::min(nodes.fewest_cpus, *cpus);
        nodes.count += *times;
    } while (take(text, ","));
    return text.empty() ? std::optional(nodes) : std::nullopt;
}

}  // namespace

int usable_cpus() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return std::max(1, CPU_COUNT(&set));
}

std::optional<int> threads_in_job(int workers, const char* cpus_per_task, const char* cpus_per_node) {
    if (cpus_per_task != nullptr) {
        std::string_view text = cpus_per_task;
        const auto cpus = take_number(text);
        if (cpus && text.empty()) return cpus;
    }
    if (cpus_per_node == nullptr) return std::nullopt;
    const auto nodes = parse_nodes(cpus_per_node);
    if (!nodes) return std::nullopt;
    const int workers_of_a_node = (workers + nodes->count - 1) / nodes->count;
    return std::max(1, nodes->fewest_cpus / workers_of_a_node);
}

int default_threads(int workers) {
    const auto threads =
        threads_in_job(workers, std::getenv("SLURM_CPUS_PER_TASK"), std::getenv("SLURM_JOB_CPUS_PER_NODE"));
    return threads.value_or(std::max(1, usable_cpus() / workers));
}

}  // namespace kiban::coordinator
