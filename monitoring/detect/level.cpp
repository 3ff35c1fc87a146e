// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/level.h"

#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "monitoring/detect/robust.h"

namespace kiban::monitoring::detect {
namespace {

constexpr std::uint64_t kRefit = 10;  // samples between fits
constexpr double kLargestSpan = 1;    // doublings of tokens that a line may stand for
constexpr double kPhiErrors =
    1;  // standard errors added to phi: too little of it makes false alarms, too much little harm
constexpr double kLargestPhi = 0.98;    // beyond, the noise is a random walk and no level exists
constexpr double kClip = 3;             // robust deviations, of the scale's own input
constexpr double kLargestStandard = 4;  // what a single value may say: one spike is no change of level
constexpr double kLeastScale = 1e-6;    // of the values, at least of 1

// The window in order of arrival.
void unroll(const LevelState& state, std::vector<double>& x, std::vector<double>& y) {
    x.resize(LevelState::kWindow);
    y.resize(LevelState::kWindow);
    for (std::size_t i = 0; i < LevelState::kWindow; ++i) {
        const std::size_t at = (state.seen + i) % LevelState::kWindow;
        x[i] = state.x[at];
        y[i] = state.y[at];
    }
}

// Correlation of neighbours, corrected for what fitting a line takes from it: E[phi] = phi - (2 + 4 phi) / n (Marriott
// and Pope 1954, Kendall 1954, for a mean; one more term for a slope).
double correlation_of(const std::vector<double>& residual, double bound) {
    double covariance = 0;
    double variance = 0;
    const auto clipped = [&](double value) { return std::clamp(value, -bound, bound); };
    for (std::size_t i = 0; i < residual.size(); ++i) {
        const double value = clipped(residual[i]);
        variance += value * value;
        if (i > 0) covariance += value * clipped(residual[i - 1]);
    }
    if (!(variance > 0)) return 0;
    const auto n = static_cast<double>(residual.size());
    const double unbiased = std::clamp((covariance / variance + 2 / n) / (1 - 4 / n), 0.0, kLargestPhi);
    return std::min(unbiased + kPhiErrors * std::sqrt((1 - unbiased * unbiased) / n), kLargestPhi);
}

double rough_scale(std::vector<double> values, double size) {
    for (double& value : values) value = std::abs(value);
    return std::max(median_of(std::move(values)) * kMadToSigma, kLeastScale * std::max(std::abs(size), 1.0));
}

// Sharper than the MAD, whose own error of a tenth would cost most of the time between false alarms.
double sharp_scale(const std::vector<double>& values, double size) {
    const double bound = kClip * rough_scale(values, size);
    double sum = 0;
    for (const double value : values) sum += std::pow(std::clamp(value, -bound, bound), 2);
    return std::sqrt(sum / static_cast<double>(values.size() - 4));  // less what line, phi and mean took
}

void fit(LevelState& state) {
    std::vector<double> x;
    std::vector<double> y;
    unroll(state, x, y);
    state.fitted = x.back() - x.front() <= kLargestSpan && x.back() > x.front() ? 1 : 0;
    state.fit_age = 0;
    if (state.fitted == 0) return;
    const Line line = huber_line(x, y);
    state.intercept = line.intercept;
    state.slope = line.slope;
    std::vector<double> residual(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) residual[i] = y[i] - line.at(x[i]);
    state.phi = correlation_of(residual, 4 * rough_scale(residual, y.back()));
    std::vector<double> innovation(x.size() - 1);
    for (std::size_t i = 1; i < x.size(); ++i) innovation[i - 1] = residual[i] - state.phi * residual[i - 1];
    state.sigma = sharp_scale(innovation, y.back());
    state.last_residual = residual.back();
}

Event event_of(const LevelState& state, Series series, const Sample& sample, int direction, double residual) {
    return {.kind = direction > 0 ? EventKind::jump_up : EventKind::jump_down,
            .series = series,
            .step = sample.step,
            .tokens = sample.tokens,
            .since_step = direction > 0 ? state.cusum.up_since : state.cusum.down_since,
            .value = sample.value,
            .size = residual,
            .detail = fmt::format("{:+.4g} from the line of the {} values before (phi {:.2f}, sigma {:.3g})", residual,
                                  LevelState::kWindow, state.phi, state.sigma)};
}

}  // namespace

int Cusum::add(double standardised, std::uint64_t step) {
    if (up == 0) up_since = step;
    if (down == 0) down_since = step;
    up = std::max(0.0, up + standardised - allowance);
    down = std::max(0.0, down - standardised - allowance);
    if (up >= bound) return 1;
    return down >= bound ? -1 : 0;
}

void Cusum::clear() {
    up = down = 0;
    up_since = down_since = 0;
}

MaybeEvent observe(LevelState& state, Series series, const Sample& sample) {
    if (!std::isfinite(sample.value) || sample.tokens == 0) return std::nullopt;
    const double x = std::log2(static_cast<double>(sample.tokens));
    if (state.fitted != 0) {
        const double residual = sample.value - (state.intercept + state.slope * x);
        const double standardised = (residual - state.phi * state.last_residual) / state.sigma;
        state.last_residual = residual;
        const int direction =
            state.cusum.add(std::clamp(standardised, -kLargestStandard, kLargestStandard), sample.step);
        if (direction != 0) {
            const Event event = event_of(state, series, sample, direction, residual);
            state = LevelState();
            return event;
        }
    }
    const std::size_t slot = state.seen % LevelState::kWindow;
    state.x[slot] = x;
    state.y[slot] = sample.value;
    ++state.seen;
    ++state.fit_age;
    if (state.seen >= LevelState::kWindow && state.fit_age >= kRefit) fit(state);
    if (state.fitted == 0) state.cusum.clear();
    return std::nullopt;
}

}  // namespace kiban::monitoring::detect
