// SPDX-License-Identifier: Apache-2.0
// Change of level or slope of one series, online (B2 of the monitoring design): two one-sided CUSUMs (Page 1954,
// Biometrika 41, 100-115) of what a robust line over log2(tokens) and an AR(1) term leave unexplained. Pure: state x
// sample -> event; one thread.
//
// The line, the correlation phi and the scale come from the last 400 samples, anew every 10 (from 200, as B2 proposes,
// they are so uncertain that one run in five has a false alarm at phi 0.9). Correlated noise would make a plain CUSUM
// alarm constantly, hence the AR(1) term. After an event it learns the new regime and is blind for 400 samples; it is
// blind, too, while 400 samples span more than one doubling of tokens, where no curve is a line.
// Delay for a shift of 6 sigma within 10 samples: about 8; false alarms: monitoring/DETECTORS.md.
#pragma once

#include <array>
#include <cstdint>

#include "monitoring/detect/event.h"

namespace kiban::monitoring::detect {

/// Two one-sided cumulative sums of standardised values.
struct Cusum {
    double allowance = 0.5;  // k, in standard deviations: half of the smallest shift that is worth an alarm
    double bound = 10;       // h: with k = 0.5 one false alarm in 70,000 independent values, both sides together
    double up = 0;
    double down = 0;
    std::uint64_t up_since = 0;  // steps at which the sums left 0
    std::uint64_t down_since = 0;

    /// 1: alarm upwards, -1: downwards, 0: none.
    int add(double standardised, std::uint64_t step);
    void clear();
};

struct LevelState {
    static constexpr std::size_t kWindow = 400;

    std::array<double, kWindow> x{};  // ring of log2(tokens)
    std::array<double, kWindow> y{};
    std::uint64_t seen = 0;     // samples since the last event
    std::uint64_t fit_age = 0;  // samples since the line was fitted
    std::uint64_t fitted = 0;   // 1: line, phi and sigma hold
    double intercept = 0;
    double slope = 0;
    double phi = 0;    // of neighbouring residuals
    double sigma = 0;  // of what phi leaves, robust
    double last_residual = 0;
    Cusum cusum;
};

/// Values that are not finite are passed over.
MaybeEvent observe(LevelState& state, Series series, const Sample& sample);

}  // namespace kiban::monitoring::detect
