// SPDX-License-Identifier: Apache-2.0
// Statistics that a few wild values cannot move. Pure functions and one fixed-size window; one thread each.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kiban::monitoring::detect {

/// Makes the median absolute deviation of a normal distribution its standard deviation: 1 / quantile(0.75).
inline constexpr double kMadToSigma = 1.482602218505602;

/// Of an even number the mean of the middle two. InternalError when empty.
double median_of(std::vector<double> values);

/// Standard deviation of noise around any slow curve: MAD of first differences / sqrt 2.
double noise_of(std::span<const double> values);

struct SlopeInterval {
    double slope = 0;
    double low = 0;  // of the two-sided 95 % interval
    double high = 0;
};
/// Theil-Sen: the median of the slopes of all pairs; interval by Sen 1968 (JASA 63, 1379-1389) from the normal
/// approximation to Kendall's statistic, which supposes independent noise. x strictly ascending, at least 4 points.
SlopeInterval theil_sen(std::span<const double> x, std::span<const double> y);

struct Line {
    double intercept = 0;
    double slope = 0;

    double at(double x) const { return intercept + slope * x; }
};
/// Huber's line (1.345 robust sigmas, reweighted three times from least squares): 95 % as sharp as least squares on
/// normal noise, and not moved by spikes. x not all equal.
Line huber_line(std::span<const double> x, std::span<const double> y);

/// The last Size values, kept sorted beside their order of arrival: median and MAD cost one walk and no sort.
template <std::size_t Size>
struct RobustWindow {
    std::array<double, Size> ring{};
    std::array<double, Size> sorted{};
    std::uint64_t seen = 0;  // values ever added since the last clear

    std::size_t count() const { return std::min<std::size_t>(seen, Size); }
    void clear() { *this = RobustWindow(); }

    /// `value` is finite.
    void add(double value) {
        auto end = sorted.begin() + static_cast<std::ptrdiff_t>(count());
        double& slot = ring[seen % Size];
        if (seen >= Size) {
            const auto oldest = std::lower_bound(sorted.begin(), end, slot);
            end = std::move(oldest + 1, end, oldest);
        }
        slot = value;
        ++seen;
        const auto place = std::upper_bound(sorted.begin(), end, value);
        std::move_backward(place, end, end + 1);
        *place = value;
    }

    double median() const {
        const std::size_t n = count();
        return n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    }

    /// Median absolute deviation from the median: deviations to both sides are sorted already, so they are merged.
    double mad() const {
        const std::size_t n = count();
        const double middle = median();
        std::size_t right = n / 2;
        std::size_t left = right;  // one past the next to the left
        double before = 0;
        double current = 0;
        for (std::size_t taken = 0; taken <= n / 2; ++taken) {
            before = current;
            const double to_left = left > 0 ? middle - sorted[left - 1] : HUGE_VAL;
            const double to_right = right < n ? sorted[right] - middle : HUGE_VAL;
            current = std::min(to_left, to_right);
            to_left < to_right ? --left : ++right;
        }
        return n % 2 == 1 ? current : (before + current) / 2;
    }
};

}  // namespace kiban::monitoring::detect
