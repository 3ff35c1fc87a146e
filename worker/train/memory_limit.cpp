// SPDX-License-Identifier: Apache-2.0
#include "worker/train/memory_limit.h"

#include <sys/resource.h>

#include <fstream>

#include "monitoring/error.h"

namespace kiban::worker {
namespace {

std::string mebibytes(std::uint64_t bytes) { return fmt::format("{} MiB", (bytes + (1U << 20) - 1) >> 20); }

// A line of /proc/self/status in bytes; 0 when there is none.
std::uint64_t status_bytes(const std::string& field) {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
        std::uint64_t kib = 0;
        if (word == field && status >> kib) return kib << 10;
    }
    return 0;
}

std::optional<std::uint64_t> soft_limit(int resource) {
    rlimit limit{};
    if (::getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return std::nullopt;
    return limit.rlim_cur;
}

}  // namespace

std::vector<ProcessLimit> process_limits() {
    std::vector<ProcessLimit> limits;
    if (const auto bytes = soft_limit(RLIMIT_AS))
        limits.push_back({"RLIMIT_AS (ulimit -v)", *bytes, status_bytes("VmSize:")});
    if (const auto bytes = soft_limit(RLIMIT_DATA))
        limits.push_back({"RLIMIT_DATA (ulimit -d)", *bytes, status_bytes("VmData:")});
    return limits;
}

std::optional<std::string> beyond(const coordinator::MemoryPlan& memory, const ProcessLimit& limit) {
    const std::uint64_t needed = memory.total() - memory.process;  // the process itself is there
    if (limit.used + needed <= limit.bytes) return std::nullopt;
    return fmt::format(
        "this worker needs {} more (weights {}, gradients {}, optimizer {}, activations {}, buffers {}), and {} leaves "
        "it "
        "{}",
        mebibytes(needed), mebibytes(memory.weights), mebibytes(memory.gradients), mebibytes(memory.optimizer),
        mebibytes(memory.activations + memory.working), mebibytes(memory.buffers()), limit.name,
        mebibytes(limit.bytes > limit.used ? limit.bytes - limit.used : 0));
}

void refuse_beyond_limits(const coordinator::PlanInput& input, int rank) {
    const std::vector<ProcessLimit> limits = process_limits();
    if (limits.empty()) return;
    const coordinator::Plan plan = coordinator::plan_of(input);
    const int stage = rank / (plan.tensor * input.parallel.context) % plan.pipeline;
    for (const ProcessLimit& limit : limits) {
        const auto fault = beyond(plan.stages[static_cast<std::size_t>(stage)].memory, limit);
        if (!fault) continue;
        throw ConfigError(
            "cannot hold the model: {}; share it out over more workers (parallel.zero = 3, parallel.tensor, "
            "parallel.pipeline), use train.activation_checkpointing, or raise the limit ('kiban plan' shows what is "
            "needed)",
            *fault);
    }
}

}  // namespace kiban::worker
