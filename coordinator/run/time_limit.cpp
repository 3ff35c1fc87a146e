// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/time_limit.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

namespace kiban::coordinator {

TimeLimit TimeLimit::of(const LaunchConfig& launch, const Environment& environment, double wall_now, double now) {
    double end = std::numeric_limits<double>::infinity();
    if (launch.time_limit_minutes > 0) end = now + 60.0 * launch.time_limit_minutes;
    const auto job_end = environment.find("SLURM_JOB_END_TIME");
    if (job_end == environment.end()) return TimeLimit(end);
    std::int64_t at = 0;
    const char* last = job_end->second.data() + job_end->second.size();
    const auto [stop, error] = std::from_chars(job_end->second.data(), last, at);
    if (error != std::errc() || stop != last || at <= 0) return TimeLimit(end);
    return TimeLimit(std::min(end, now + static_cast<double>(at) - wall_now));
}

}  // namespace kiban::coordinator
