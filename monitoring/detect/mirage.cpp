// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/mirage.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace kiban::monitoring::detect {
namespace {

constexpr std::size_t kWindow = MirageState::kWindow;
constexpr std::size_t kSide = 8;
constexpr double kLeastChange = 0.2;
constexpr double kQuantile = 1.959963984540054;
constexpr double kEvidence = 10;      // "very strong" on the scale of Kass and Raftery 1995 (JASA 90, 773-795)
constexpr double kLeastNoise = 1e-3;  // of the twin's range: below, curvature of any smooth twin would look like a step

struct Interval {
    double low = 0;
    double high = 0;

    double centre() const { return (low + high) / 2; }
};

Interval wilson(double passed, double items) {
    const double p = passed / items;
    const double z2 = kQuantile * kQuantile;
    const double centre = (p + z2 / (2 * items)) / (1 + z2 / items);
    const double half = kQuantile / (1 + z2 / items) * std::sqrt(p * (1 - p) / items + z2 / (4 * items * items));
    return {centre - half, centre + half};
}

// What of y no combination of the columns explains: sum of squares, and the last column's coefficient.
struct Rest {
    double squares = 0;
    double last = 0;
};

using Columns = std::vector<std::array<double, kWindow>>;

double dot(const std::array<double, kWindow>& a, const std::array<double, kWindow>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < kWindow; ++i) sum += a[i] * b[i];
    return sum;
}

// Gram-Schmidt, column by column: the last column's part that the others do not have gives its coefficient.
Rest rest_of(std::array<double, kWindow> y, const Columns& columns) {
    Columns basis;
    Rest rest;
    for (auto column : columns) {
        for (const auto& before : basis) {
            const double share = dot(column, before) / dot(before, before);
            for (std::size_t i = 0; i < kWindow; ++i) column[i] -= share * before[i];
        }
        rest.last = dot(y, column) / dot(column, column);
        for (std::size_t i = 0; i < kWindow; ++i) y[i] -= rest.last * column[i];
        basis.push_back(column);
    }
    rest.squares = dot(y, y);
    return rest;
}

// The step between the two sides that explains most: its height, 0 when it is not worth its parameters.
double step_of(const std::array<double, kWindow>& y) {
    const auto [low, high] = std::minmax_element(y.begin(), y.end());
    const double floor = std::pow(kLeastNoise * (*high - *low), 2) * kWindow;
    Columns columns(3);
    for (std::size_t i = 0; i < kWindow; ++i) {
        const double x = 2.0 * static_cast<double>(i) / (kWindow - 1) - 1;
        columns[0][i] = 1;
        columns[1][i] = x;
        columns[2][i] = x * x;
    }
    const Rest smooth = rest_of(y, columns);
    Rest best = smooth;
    columns.emplace_back();
    for (std::size_t place = kSide; place <= kWindow - kSide; ++place) {
        for (std::size_t i = 0; i < kWindow; ++i) columns[3][i] = i < place ? 0 : 1;
        const Rest stepped = rest_of(y, columns);
        if (stepped.squares < best.squares) best = stepped;
    }
    const double gain = kWindow * std::log((smooth.squares + floor) / (best.squares + floor));
    return gain > kEvidence + 2 * std::log(static_cast<double>(kWindow)) ? best.last : 0;
}

// From the first side of the window to the last, in shares of the items; 0 when it is small or may be chance.
double change_of(const MirageState& state) {
    std::array<double, 4> pooled{};  // passed and items of the first side, then of the last
    for (std::size_t i = 0; i < kWindow; ++i) {
        if (i >= kSide && i < kWindow - kSide) continue;
        const std::size_t from = (state.seen + i) % kWindow;
        const std::size_t side = i < kSide ? 0 : 2;
        pooled[side] += state.passed[from];
        pooled[side + 1] += state.items[from];
    }
    const Interval before = wilson(pooled[0], pooled[1]);
    const Interval after = wilson(pooled[2], pooled[3]);
    const double change = after.centre() - before.centre();
    const bool apart = after.low > before.high || before.low > after.high;
    return apart && std::abs(change) >= kLeastChange ? change : 0;
}

}  // namespace

MaybeEvent observe(MirageState& state, const Measurement& at) {
    if (at.items == 0 || !std::isfinite(at.thresholded) || !std::isfinite(at.continuous)) return std::nullopt;
    const bool was_waiting = state.waiting > 0;
    const std::size_t slot = state.seen % kWindow;
    state.step[slot] = at.step;
    state.items[slot] = static_cast<double>(at.items);
    state.passed[slot] = at.thresholded * static_cast<double>(at.items);
    state.continuous[slot] = at.continuous;
    ++state.seen;
    if (state.seen < kWindow) return std::nullopt;
    if (state.waiting > 0 && --state.waiting > 0) return std::nullopt;

    const double change = change_of(state);
    if (change == 0) return std::nullopt;
    if (!was_waiting) {
        state.waiting = kSide;
        return std::nullopt;
    }
    std::array<double, kWindow> twin{};
    for (std::size_t i = 0; i < kWindow; ++i) twin[i] = state.continuous[(state.seen + i) % kWindow];
    const double step = step_of(twin);
    const bool twin_jumped = step != 0 && (step > 0) == (change > 0);
    const auto kind = !twin_jumped ? EventKind::threshold_effect
                      : change > 0 ? EventKind::jump_up
                                   : EventKind::jump_down;
    const std::string seen = fmt::format("{:+.2f} of the items", change);
    Event event{.kind = kind,
                .series = Series::holdout_accuracy,
                .step = at.step,
                .tokens = at.tokens,
                .since_step = state.step[(state.seen + kSide) % kWindow],
                .value = at.thresholded,
                .size = change,
                .detail = twin_jumped ? fmt::format("{}, and its continuous twin {:+.3g}", seen, step)
                                      : seen + ", while its continuous twin changed smoothly"};
    state = MirageState();
    return event;
}

}  // namespace kiban::monitoring::detect
