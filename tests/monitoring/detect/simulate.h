// SPDX-License-Identifier: Apache-2.0
// Random numbers whose every bit is fixed by the seed: std::mt19937_64 is, the standard's distributions are not.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>
#include <vector>

#include "monitoring/detect/event.h"

namespace kiban::monitoring::detect {

class Random {
  public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}

    double uniform() { return (static_cast<double>(engine_() >> 11U) + 0.5) / 9007199254740992.0; }  // in (0, 1)
    std::size_t below(std::size_t bound) { return static_cast<std::size_t>(uniform() * static_cast<double>(bound)); }

    /// Box and Muller 1958.
    double normal() {
        if (kept_) {
            kept_ = false;
            return other_;
        }
        const double radius = std::sqrt(-2 * std::log(uniform()));
        const double angle = 2 * std::numbers::pi * uniform();
        kept_ = true;
        other_ = radius * std::sin(angle);
        return radius * std::cos(angle);
    }

  private:
    std::mt19937_64 engine_;
    bool kept_ = false;
    double other_ = 0;
};

/// Unit variance, correlation rho between neighbours.
class CorrelatedNoise {
  public:
    CorrelatedNoise(std::uint64_t seed, double rho) : random_(seed), rho_(rho), value_(random_.normal()) {}

    double next() {
        value_ = rho_ * value_ + std::sqrt(1 - rho_ * rho_) * random_.normal();
        return value_;
    }

  private:
    Random random_;
    double rho_;
    double value_;
};

/// Of a run that is long under way, so that 400 steps are a small part of a doubling of tokens.
inline Sample late_sample(std::uint64_t index, double value) {
    return {.step = index + 1, .tokens = (index + 2000) * 1000, .value = value};
}

inline double median_number(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values.empty() ? std::nan("") : values[values.size() / 2];
}

}  // namespace kiban::monitoring::detect
