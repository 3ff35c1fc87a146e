// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/interval.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <sstream>
#include <string>
#include <utility>

namespace kiban::coordinator {
namespace {

constexpr double kNewWeight = 0.1;      // of a step in the moving average
constexpr double kNewSaveWeight = 0.5;  // of a save, of which there are few

void mix(std::optional<double>& average, double value, double weight) {
    average = average ? *average + weight * (value - *average) : value;
}

// Seconds since 1970 of "2026-01-31T12:00:00.000Z"; nullopt for anything else.
std::optional<double> seconds_of(const nlohmann::json& entry) {
    std::istringstream text(entry.value("time", ""));
    int year = 0;
    unsigned month = 0;
    unsigned day = 0;
    int hour = 0;
    int minute = 0;
    double second = 0;
    char separator = 0;
    text >> year >> separator >> month >> separator >> day >> separator >> hour >> separator >> minute >> separator >>
        second;
    const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month), std::chrono::day(day)};
    if (!text || !date.ok()) return std::nullopt;
    const auto days = std::chrono::sys_days(date).time_since_epoch();
    return std::chrono::duration<double>(days).count() + 3600.0 * hour + 60.0 * minute + second;
}

}  // namespace

FailureRecord failures_in(const std::vector<nlohmann::json>& journal) {
    FailureRecord record;
    bool training = false;  // in the attempt that is being read
    double began = 0;
    double last = 0;  // time of its last entry
    const auto close = [&](bool failed) {
        if (!std::exchange(training, false)) return;
        record.trained_seconds += std::max(0.0, last - began);
        record.failures += failed ? 1 : 0;
    };
    for (const nlohmann::json& entry : journal) {
        const std::string event = entry.value("event", "");
        if (event == "attempt_started") close(/*failed=*/true);  // the one before never came to say how it ended
        const auto now = seconds_of(entry);
        if (!now) continue;
        last = *now;
        if (event == "training" && !std::exchange(training, true)) began = *now;
        if (event == "attempt_ended") close(entry.value("failed", false));
    }
    return record;
}

double seconds_between_failures(double expected_seconds, const FailureRecord& record) {
    return (expected_seconds + record.trained_seconds) / (1.0 + record.failures);
}

void SaveCost::save_began() {
    writing_ = open_ = true;
    cost_ = slower_ = 0;
}

void SaveCost::save_ended() { writing_ = false; }

bool SaveCost::step(double seconds, double stall) {
    if (open_) cost_ += stall;
    if (writing_) {
        if (step_seconds_) slower_ += seconds - *step_seconds_;
        return false;
    }
    mix(step_seconds_, seconds, kNewWeight);
    if (!std::exchange(open_, false)) return false;
    mix(save_seconds_, cost_ + std::max(0.0, slower_), kNewSaveWeight);
    return true;
}

std::uint64_t interval_steps(const IntervalInput& input, const checkpoint::CheckpointConfig& config) {
    const double seconds = std::max(std::sqrt(2.0 * input.save_seconds * input.failure_seconds), input.write_seconds);
    const double steps = std::ceil(seconds / std::max(input.step_seconds, 1e-9));
    const auto least = static_cast<double>(config.min_interval_steps);
    const auto most = static_cast<double>(config.max_interval_steps);
    return static_cast<std::uint64_t>(std::clamp(steps, least, most));
}

}  // namespace kiban::coordinator
