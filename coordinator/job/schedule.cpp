// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numbers>

#include "coordinator/job/train_config.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

double part(std::uint64_t done, std::uint64_t whole) { return static_cast<double>(done) / static_cast<double>(whole); }

// Steps after the warm-up before the rate begins to fall.
bool is_stable(const ScheduleConfig& schedule, std::uint64_t index, std::uint64_t steps) {
    return schedule.name == ScheduleName::constant ||
           (schedule.name == ScheduleName::wsd && index < steps - resolved_decay_steps(schedule, steps));
}

// What is left of the peak above the final value, 1 down to 0, when `done` of the decay (0 to 1) is done.
double remaining(const ScheduleConfig& schedule, double done) {
    if (schedule.name == ScheduleName::cosine) return 0.5 * (1.0 + std::cos(std::numbers::pi * done));
    const bool is_sqrt = schedule.name == ScheduleName::wsd && schedule.decay == DecayShape::sqrt;
    return 1.0 - (is_sqrt ? std::sqrt(done) : done);
}

}  // namespace

std::uint64_t resolved_decay_steps(const ScheduleConfig& schedule, std::uint64_t steps) {
    return std::clamp<std::uint64_t>(schedule.decay_steps == 0 ? steps / 10 : schedule.decay_steps, 1, steps);
}

double learning_rate_at(const OptimizerConfig& optimizer, const ScheduleConfig& schedule, std::uint64_t step,
                        std::uint64_t steps) {
    KIBAN_CHECK(step >= 1 && step <= steps, "step {} of {}", step, steps);
    const std::uint64_t index = step - 1;
    const double peak = optimizer.learning_rate;
    if (index < schedule.warmup_steps)
        return peak * static_cast<double>(index + 1) / static_cast<double>(schedule.warmup_steps + 1);
    if (is_stable(schedule, index, steps)) return peak;
    const std::uint64_t start =
        schedule.name == ScheduleName::wsd ? steps - resolved_decay_steps(schedule, steps) : schedule.warmup_steps;
    const double last = peak * schedule.final_ratio;
    return last + remaining(schedule, part(index - start, steps - start)) * (peak - last);
}

}  // namespace kiban::coordinator
