// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/spike.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace kiban::monitoring::detect {
namespace {

constexpr std::size_t kFewest = 64;  // below, the scale is too uncertain for a tail of 6 deviations
constexpr double kFlag = 6;
constexpr double kBack = 3;
constexpr std::uint64_t kLingering = 200;
constexpr std::uint64_t kDivergent = 500;
constexpr std::uint64_t kInARow = 20;
constexpr double kLeastScale = 1e-4;  // of the median, at least of 1: a constant curve has no scale of its own

struct Score {
    double sigma = 0;
    double deviations = 0;
};

double transformed(const SpikeRule& rule, double value) {
    if (!rule.logarithm) return value;
    // A norm of 0 is as far from a spike as can be.
    return value > 0 ? std::log(value) : value == 0 ? -std::numeric_limits<double>::infinity() : std::nan("");
}

bool is_wild(double x) { return std::isnan(x) || x == std::numeric_limits<double>::infinity(); }

Score score_of(const SpikeState& state, double x) {
    if (is_wild(x)) return {0, std::numeric_limits<double>::infinity()};
    if (state.normal.count() < kFewest) return {};
    const double middle = state.normal.median();
    const double sigma = std::max(state.normal.mad() * kMadToSigma, kLeastScale * std::max(std::abs(middle), 1.0));
    return {sigma, (x - middle) / sigma};
}

Event event_of(EventKind kind, const SpikeRule& rule, const Sample& sample, std::uint64_t since, double size,
               std::string detail) {
    return {.kind = kind,
            .series = rule.series,
            .step = sample.step,
            .tokens = sample.tokens,
            .since_step = since,
            .value = sample.value,
            .size = size,
            .detail = std::move(detail)};
}

void close(SpikeState& state) { state.open_since = state.open_samples = state.lingering = 0; }

// The open spike goes on or ends.
MaybeEvent follow(SpikeState& state, const SpikeRule& rule, const Sample& sample, const Score& score) {
    const std::uint64_t since = state.open_since;
    if (score.deviations < kBack) {
        const auto lasted = static_cast<double>(state.open_samples);
        close(state);
        return event_of(EventKind::spike_recovered, rule, sample, since, lasted,
                        fmt::format("back among the values before it after {} samples", lasted));
    }
    ++state.open_samples;
    if (state.flagged_run >= kDivergent) {
        const auto lasted = static_cast<double>(state.open_samples);
        close(state);
        state.flagged_run = 0;
        state.normal.clear();  // this is the regime now: what comes is measured against it
        if (!rule.divergence) return std::nullopt;
        state.diverged = 1;
        return event_of(EventKind::divergence, rule, sample, since, lasted,
                        fmt::format("{} samples in a row far above the values before", kDivergent));
    }
    if (state.lingering != 0 || state.open_samples <= kLingering) return std::nullopt;
    state.lingering = 1;
    return event_of(EventKind::spike_lingering, rule, sample, since, static_cast<double>(state.open_samples),
                    fmt::format("not back among the values before it after {} samples", kLingering));
}

MaybeEvent open(SpikeState& state, const SpikeRule& rule, const Sample& sample, const Score& score) {
    state.open_since = sample.step;
    state.open_samples = 1;
    const std::string size = std::isfinite(score.deviations)
                                 ? fmt::format("{:.1f} robust deviations above the median of the last {} values",
                                               score.deviations, state.normal.count())
                                 : "not finite";
    return event_of(EventKind::spike, rule, sample, sample.step, score.deviations, size);
}

bool is_clearly_below(const SpikeState& state, double start) {
    if (state.normal.count() < kFewest) return false;
    const double sigma = state.normal.mad() * kMadToSigma;
    return state.normal.median() < start - std::max(kFlag * sigma, 0.02 * std::abs(start));
}

MaybeEvent against_start(SpikeState& state, const SpikeRule& rule, const Sample& sample) {
    if (state.initial_count < SpikeState::kInitial) {
        if (std::isfinite(sample.value)) state.initial[state.initial_count++] = sample.value;
        return std::nullopt;
    }
    const double start = median_of({state.initial.begin(), state.initial.end()});
    const bool above = !(sample.value <= start);
    state.below_initial = above ? 0 : state.below_initial + 1;
    if (state.below_initial >= kInARow) state.diverged = 0;
    if (state.had_fallen == 0 && is_clearly_below(state, start)) state.had_fallen = 1;
    if (!above || state.had_fallen == 0) {
        state.above_initial = 0;
        return std::nullopt;
    }
    if (state.above_initial++ == 0) state.above_since = sample.step;
    if (state.diverged != 0 || state.above_initial != kInARow) return std::nullopt;
    state.diverged = 1;
    return event_of(EventKind::divergence, rule, sample, state.above_since, sample.value - start,
                    fmt::format("{} samples in a row above {:.4g}, the value at the start", kInARow, start));
}

}  // namespace

std::vector<Event> observe(SpikeState& state, const SpikeRule& rule, const Sample& sample) {
    std::vector<Event> events;
    const double x = transformed(rule, sample.value);
    const Score score = score_of(state, x);
    const bool flagged = score.deviations > kFlag;
    ++state.samples;
    state.flagged += flagged ? 1 : 0;
    state.flagged_run = flagged ? state.flagged_run + 1 : 0;
    MaybeEvent event;
    if (state.open_since != 0) {
        event = follow(state, rule, sample, score);
    } else if (flagged) {
        event = open(state, rule, sample, score);
    }
    if (event) events.push_back(std::move(*event));
    if (rule.divergence) {
        if (auto divergence = against_start(state, rule, sample)) events.push_back(std::move(*divergence));
    }
    if (!flagged && std::isfinite(x)) state.normal.add(x);
    return events;
}

}  // namespace kiban::monitoring::detect
