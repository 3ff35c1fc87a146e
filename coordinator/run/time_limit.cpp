// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/time_limit.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "coordinator/launch/program.h"

namespace kiban::coordinator {

TimeLimit TimeLimit::of(const LaunchConfig& launch, const std::string& job_end, double wall_now, double now) {
    double end = std::numeric_limits<double>::infinity();
    if (launch.time_limit_minutes > 0) end = now + 60.0 * launch.time_limit_minutes;
    std::int64_t at = 0;
    const char* last = job_end.data() + job_end.size();
    const auto [stop, error] = std::from_chars(job_end.data(), last, at);
    if (error != std::errc() || stop != last || at <= 0) return TimeLimit(end);
    return TimeLimit(std::min(end, now + static_cast<double>(at) - wall_now));
}

std::string job_end_time(const Environment& environment) {
    if (const auto known = environment.find("SLURM_JOB_END_TIME"); known != environment.end()) return known->second;
    const std::string job = slurm_job(environment);
    if (job.empty()) return "";
    const ProgramOutput answer =
        run_program({"squeue", "--noheader", "--jobs", job, "--format", "%e"}, {"SLURM_TIME_FORMAT=%s"});
    return answer.exit_code == 0 ? answer.text.substr(0, answer.text.find_last_not_of(" \n") + 1) : "";
}

}  // namespace kiban::coordinator
