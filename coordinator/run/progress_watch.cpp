// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/progress_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>
#include <tuple>

#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

constexpr double kPaceFactor = 5;  // times the slowest usual step
constexpr std::uint64_t kFirstSteps = 5;
constexpr double kQuietSeconds = 3;  // without a heartbeat: a suspect
constexpr double kSpanSeconds = 10;  // of a straggler's measurement, at least
constexpr std::uint64_t kSpanSteps = 10;
constexpr std::array<std::string_view, 4> kStepPhases = {"forward", "backward", "reduce", "optimizer"};

template <typename T>
T lower_median(std::vector<T> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

}  // namespace

void StepPace::add(double seconds) {
    seconds_.push_back(seconds);
    if (seconds_.size() > kMost) seconds_.pop_front();
}

void StepPace::add(const StepReport& report) {
    if (report.phase_seconds.empty()) return add(report.step_seconds);
    double seconds = 0;
    for (const auto& [phase, of_phase] : report.phase_seconds) {
        if (phase != "evaluate" && phase != "save") seconds += of_phase;
    }
    add(seconds);
}

double StepPace::slowest_usual() const {
    if (seconds_.empty()) return 0;
    std::vector<double> sorted(seconds_.begin(), seconds_.end());
    const auto at = sorted.begin() + static_cast<std::ptrdiff_t>((sorted.size() - 1) * 99 / 100);
    std::nth_element(sorted.begin(), at, sorted.end());
    return *at;
}

ProgressWatch::ProgressWatch(const SuperviseConfig& config, int workers, double now)
    : config_(config),
      clocks_(static_cast<std::size_t>(workers),
              Clock{.phase = {}, .step = 0, .collective = 0, .work = 0, .moved = now}) {}

void ProgressWatch::heartbeat(int rank, const Heartbeat& heartbeat, double now) {
    Clock& clock = clocks_.at(static_cast<std::size_t>(rank));
    const auto there = std::tie(heartbeat.phase, heartbeat.step, heartbeat.collective, heartbeat.work);
    if (std::tie(clock.phase, clock.step, clock.collective, clock.work) == there) return;
    clock = {.phase = heartbeat.phase,
             .step = heartbeat.step,
             .collective = heartbeat.collective,
             .work = heartbeat.work,
             .moved = now};
}

void ProgressWatch::excuse(double seconds) {
    for (Clock& clock : clocks_) clock.moved += seconds;
}

double ProgressWatch::limit(const std::string& phase, const StepPace& pace) const {
    const double of_pace = kPaceFactor * pace.slowest_usual();
    if (phase == "data") return std::max(config_.data_seconds, of_pace);
    if (phase == "preflight") return config_.data_seconds;  // small pieces of work, a disk among them
    if (phase == "prepare" || phase == "generate")
        return std::numeric_limits<double>::infinity();  // a task may be long
    if (std::ranges::count(kStepPhases, phase) == 0) return config_.slow_phase_seconds;
    if (steps_ < kFirstSteps) return std::max(config_.first_steps_seconds, of_pace);
    return std::max(config_.hang_seconds, of_pace);
}

std::optional<Hang> ProgressWatch::look(const std::vector<Member>& members, const StepPace& pace, double now) const {
    if (config_.hang_seconds == 0 || members.empty()) return std::nullopt;
    double shortest = now;
    bool all_finished = true;
    for (std::size_t rank = 0; rank < members.size(); ++rank) {
        if (!members[rank].hello) return std::nullopt;
        if (members[rank].finished) continue;
        all_finished = false;
        const double stood = now - clocks_[rank].moved;
        if (stood <= limit(clocks_[rank].phase, pace)) return std::nullopt;
        shortest = std::min(shortest, stood);
    }
    if (all_finished) return std::nullopt;
    return describe_hang(members, shortest, now);
}

Hang describe_hang(const std::vector<Member>& members, double stood_seconds, double now) {
    std::vector<std::size_t> order;
    for (std::size_t rank = 0; rank < members.size(); ++rank) {
        if (!members[rank].finished) order.push_back(rank);
    }
    KIBAN_CHECK(!order.empty(), "nobody is left that could hang");
    const auto behind = [&](std::size_t rank) {  // who waits in a collective waits for somebody else
        const Heartbeat& beat = members[rank].heartbeat;
        return std::tuple(now - members[rank].last_heard < kQuietSeconds, beat.step, beat.collective,
                          beat.phase == "reduce", rank);
    };
    std::ranges::sort(order, {}, behind);
    constexpr std::size_t kNamed = 8;
    std::vector<std::string> places;
    for (const std::size_t rank : order) {
        if (places.size() == kNamed) {
            places.push_back(fmt::format("and {} more", order.size() - kNamed));
            break;
        }
        const Member& member = members[rank];
        const double silent = now - member.last_heard;
        places.push_back(fmt::format(
            "worker {} ({}) in '{}' of step {}, collective {}{}", rank,
            member.hello ? fmt::format("process {} on {}", member.hello->pid, member.hello->host) : "never heard",
            member.heartbeat.phase, member.heartbeat.step, member.heartbeat.collective,
            silent >= kQuietSeconds ? fmt::format(", silent for {:.0f} s", silent) : ""));
    }
    return {.suspect = static_cast<int>(order.front()),
            .seconds = stood_seconds,
            .text = fmt::format("no worker has moved for {:.0f} s; most behind {}", stood_seconds,
                                fmt::join(places, "; "))};
}

void Stragglers::heartbeat(int rank, const Heartbeat& heartbeat, double now) {
    Rank& own = ranks_.at(static_cast<std::size_t>(rank));
    if (own.from == 0 || heartbeat.busy_steps < own.busy_steps) {
        own.from = now;
        own.busy_seconds = heartbeat.busy_seconds;
        own.busy_steps = heartbeat.busy_steps;
        return;
    }
    const std::uint64_t steps = heartbeat.busy_steps - own.busy_steps;
    if (now - own.from < kSpanSeconds || steps < kSpanSteps) return;
    own.seconds = (heartbeat.busy_seconds - own.busy_seconds) / static_cast<double>(steps);
    own.from = now;
    own.busy_seconds = heartbeat.busy_seconds;
    own.busy_steps = heartbeat.busy_steps;
    own.above = is_above(static_cast<std::size_t>(rank)) ? own.above + 1 : 0;
}

bool Stragglers::is_above(std::size_t rank) const {
    if (ratio_ == 0) return false;
    std::vector<double> others;
    for (std::size_t other = 0; other < ranks_.size(); ++other) {
        if (other != rank && ranks_[other].seconds) others.push_back(*ranks_[other].seconds);
    }
    if (others.empty() || others.size() + 1 < ranks_.size()) return false;
    return *ranks_[rank].seconds > ratio_ * lower_median(std::move(others));
}

}  // namespace kiban::coordinator
