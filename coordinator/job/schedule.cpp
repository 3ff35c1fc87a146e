// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numbers>

#include "coordinator/job/train_config.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

double part(std::uint64_t done, std::uint64_t whole) { return static_cast<double>(done) / static_cast<double>(whole); }

// What is left of the peak above the final value: 1 down to 0.
double remaining(const ScheduleConfig& schedule, std::uint64_t index, std::uint64_t steps) {
    switch (schedule.name) {
        case ScheduleName::constant: return 1.0;
        case ScheduleName::linear: return 1.0 - part(index - schedule.warmup_steps, steps - schedule.warmup_steps);
        case ScheduleName::cosine:
            return 0.5 * (1.0 + std::cos(std::numbers::pi *
                                         part(index - schedule.warmup_steps, steps - schedule.warmup_steps)));
        case ScheduleName::wsd: {
            const std::uint64_t decay =
                std::clamp<std::uint64_t>(schedule.decay_steps == 0 ? steps / 10 : schedule.decay_steps, 1, steps);
            const std::uint64_t start = steps - decay;
            if (index < start) return 1.0;
            const double done = part(index - start, decay);
            return 1.0 - (schedule.decay == DecayShape::sqrt ? std::sqrt(done) : done);
        }
    }
    throw InternalError("no schedule has number {}", static_cast<int>(schedule.name));
}

}  // namespace

double learning_rate_at(const OptimizerConfig& optimizer, const ScheduleConfig& schedule, std::uint64_t step,
                        std::uint64_t steps) {
    KIBAN_CHECK(step >= 1 && step <= steps, "step {} of {}", step, steps);
    const std::uint64_t index = step - 1;
    const double peak = optimizer.learning_rate;
    if (index < schedule.warmup_steps)
        return peak * static_cast<double>(index + 1) / static_cast<double>(schedule.warmup_steps + 1);
    const double last = peak * schedule.final_ratio;
    return last + remaining(schedule, index, steps) * (peak - last);
}

}  // namespace kiban::coordinator
