// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/robust.h"

#include "monitoring/error.h"

namespace kiban::monitoring::detect {
namespace {

constexpr double kHuber = 1.345;  // standard deviations beyond which a value loses weight
constexpr int kReweightings = 3;

Line weighted_line(std::span<const double> x, std::span<const double> y, std::span<const double> weight) {
    double total = 0;
    double mean_x = 0;
    double mean_y = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        total += weight[i];
        mean_x += weight[i] * x[i];
        mean_y += weight[i] * y[i];
    }
    mean_x /= total;
    mean_y /= total;
    double xx = 0;
    double xy = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        xx += weight[i] * (x[i] - mean_x) * (x[i] - mean_x);
        xy += weight[i] * (x[i] - mean_x) * (y[i] - mean_y);
    }
    Line line;
    line.slope = xy / xx;
    line.intercept = mean_y - line.slope * mean_x;
    return line;
}

}  // namespace

double median_of(std::vector<double> values) {
    KIBAN_CHECK(!values.empty(), "the median of nothing");
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    if (values.size() % 2 == 1) return *middle;
    return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

double noise_of(std::span<const double> values) {
    if (values.size() < 3) return 0;
    std::vector<double> steps(values.size() - 1);
    for (std::size_t i = 0; i + 1 < values.size(); ++i) steps[i] = values[i + 1] - values[i];
    const double middle = median_of(steps);
    for (double& step : steps) step = std::abs(step - middle);
    return median_of(std::move(steps)) * kMadToSigma / std::sqrt(2.0);
}

SlopeInterval theil_sen(std::span<const double> x, std::span<const double> y) {
    KIBAN_CHECK(x.size() == y.size() && x.size() >= 4, "a slope of {} points", x.size());
    std::vector<double> slopes;
    slopes.reserve(x.size() * (x.size() - 1) / 2);
    for (std::size_t i = 0; i < x.size(); ++i) {
        for (std::size_t j = i + 1; j < x.size(); ++j) slopes.push_back((y[j] - y[i]) / (x[j] - x[i]));
    }
    std::sort(slopes.begin(), slopes.end());
    const auto n = static_cast<double>(x.size());
    const auto pairs = static_cast<double>(slopes.size());
    const double half = 1.959963984540054 * std::sqrt(n * (n - 1) * (2 * n + 5) / 18);
    const double last = pairs - 1;
    const auto rank = [&](double place) {
        return slopes[static_cast<std::size_t>(std::clamp(std::round(place), 0.0, last))];
    };
    const std::size_t middle = slopes.size() / 2;
    const double slope = slopes.size() % 2 == 1 ? slopes[middle] : (slopes[middle - 1] + slopes[middle]) / 2;
    return {.slope = slope, .low = rank((pairs - half) / 2 - 1), .high = rank((pairs + half) / 2)};
}

Line huber_line(std::span<const double> x, std::span<const double> y) {
    std::vector<double> weight(x.size(), 1.0);
    std::vector<double> size(x.size());
    Line line = weighted_line(x, y, weight);
    for (int again = 0; again < kReweightings; ++again) {
        for (std::size_t i = 0; i < x.size(); ++i) size[i] = std::abs(y[i] - line.at(x[i]));
        const double bound = kHuber * kMadToSigma * median_of(size);
        if (!(bound > 0)) break;
        for (std::size_t i = 0; i < x.size(); ++i) weight[i] = size[i] > bound ? bound / size[i] : 1.0;
        line = weighted_line(x, y, weight);
    }
    return line;
}

}  // namespace kiban::monitoring::detect
