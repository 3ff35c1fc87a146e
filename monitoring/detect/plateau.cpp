// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/plateau.h"

#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "monitoring/detect/robust.h"

namespace kiban::monitoring::detect {
namespace {

constexpr double kBlockWidth = 1.0 / 64;  // doublings
constexpr double kWindowWidth = 0.5;
constexpr double kHop = 1.0 / 8;
constexpr std::size_t kFewestBlocks = 20;
constexpr std::uint64_t kEnter = 3;
constexpr std::uint64_t kExit = 2;
constexpr double kQuantile = 1.959963984540054;  // of 95 % two-sided

struct Window {
    std::vector<double> x;
    std::vector<double> y;
    std::uint64_t step = 0;  // at which it begins
    std::uint64_t tokens = 0;
};

// The newest blocks, as few as are enough; empty when all are not.
Window window_of(const PlateauState& state) {
    const std::size_t kept = std::min<std::size_t>(state.blocks, PlateauState::kBlocks);
    const auto slot = [&](std::size_t back) { return (state.blocks - 1 - back) % PlateauState::kBlocks; };
    std::size_t count = kFewestBlocks;
    while (count <= kept && state.x[slot(0)] - state.x[slot(count - 1)] < kWindowWidth) ++count;
    Window window;
    if (count > kept) return window;
    for (std::size_t back = count; back-- > 0;) {
        window.x.push_back(state.x[slot(back)]);
        window.y.push_back(state.y[slot(back)]);
    }
    window.step = state.step[slot(count - 1)];
    window.tokens = state.tokens[slot(count - 1)];
    return window;
}

void close_block(PlateauState& state) {
    const std::size_t slot = state.blocks % PlateauState::kBlocks;
    const auto count = static_cast<double>(state.open_count);
    state.x[slot] = state.sum_x / count;
    state.y[slot] = state.sum_y / count;
    state.step[slot] = state.open_step;
    state.tokens[slot] = state.open_tokens;
    ++state.blocks;
    state.open_count = 0;
    state.sum_x = state.sum_y = 0;
}

// Probability that a slope of kPlateauSlope had kept the interval from being inside: of a normal estimate with the
// interval's own width.
double power_of(const PlateauState& state) {
    const double error = (state.high - state.low) / (2 * kQuantile);
    if (!(error > 0)) return 1;
    return 0.5 * std::erfc(-(kPlateauSlope / error - kQuantile) / std::sqrt(2.0));
}

MaybeEvent change(PlateauState& state, const Window& window) {
    const bool inside = state.low > -kPlateauSlope && state.high < kPlateauSlope;
    state.outside = inside ? 0 : state.outside + 1;
    if (inside && state.inside == 0) {
        state.first_inside_step = window.step;
        state.first_inside_tokens = window.tokens;
    }
    state.inside = inside ? state.inside + 1 : 0;
    const std::string slope = fmt::format("slope {:+.2g} nats per doubling of tokens, 95 % interval {:+.2g} to {:+.2g}",
                                          state.slope, state.low, state.high);
    if (!in_plateau(state) && state.inside >= kEnter) {
        state.since_step = state.first_inside_step;
        state.since_tokens = state.first_inside_tokens;
        return Event{.kind = EventKind::plateau_enter,
                     .since_step = state.since_step,
                     .size = state.slope,
                     .detail = fmt::format("{}; power to see a slope of {}: {:.2f}; not a verdict", slope,
                                           kPlateauSlope, power_of(state))};
    }
    if (in_plateau(state) && state.outside >= kExit) {
        const std::uint64_t since = state.since_step;
        state.since_step = state.since_tokens = 0;
        return Event{.kind = EventKind::plateau_exit, .since_step = since, .size = state.slope, .detail = slope};
    }
    return std::nullopt;
}

}  // namespace

MaybeEvent observe(PlateauState& state, Series series, const Sample& sample) {
    if (!std::isfinite(sample.value) || sample.tokens == 0) return std::nullopt;
    const double x = std::log2(static_cast<double>(sample.tokens));
    MaybeEvent event;
    if (state.open_count > 0 && x - state.begin_x >= kBlockWidth) {
        close_block(state);
        const Window window = window_of(state);
        if (!window.x.empty() && (state.tests == 0 || x - state.tested_x >= kHop)) {
            const SlopeInterval slope = theil_sen(window.x, window.y);
            state.slope = slope.slope;
            state.low = slope.low;
            state.high = slope.high;
            state.tested_x = x;
            ++state.tests;
            event = change(state, window);
        }
    }
    if (state.open_count == 0) {
        state.begin_x = x;
        state.open_step = sample.step;
        state.open_tokens = sample.tokens;
    }
    state.sum_x += x;
    state.sum_y += sample.value;
    ++state.open_count;
    if (!event) return event;
    event->series = series;
    event->step = sample.step;
    event->tokens = sample.tokens;
    event->value = sample.value;
    return event;
}

}  // namespace kiban::monitoring::detect
