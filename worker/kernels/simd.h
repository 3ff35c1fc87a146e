// SPDX-License-Identifier: Apache-2.0
// The vector functions that hot loops call (KIBAN_SIMD: monitoring/simd.h).
#pragma once

#include <bit>
#include <cstdint>

#include "monitoring/simd.h"

namespace kiban::worker {

/// e^x within 2 ulp for -87 < x < 88; about 1.2e-38 below, infinite above 88.4; NaN stays NaN. Cephes expf's polynomial
/// (Moshier 1989).
inline float simd_exp(float x) {
    constexpr float kLog2E = 1.44269504088896341F;
    constexpr float kLn2High = 0.693359375F;
    constexpr float kLn2Low = -2.12194440e-4F;
    constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
    x = x > 88.7F ? 88.7F : x;
    x = x < -87.3F ? -87.3F : x;
    const float shifted = x * kLog2E + kRound;
    const float exponent = shifted - kRound;
    const float r = (x - exponent * kLn2High) - exponent * kLn2Low;
    float p = 1.9875691500e-4F;
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * (r * r) + (r + 1.0F);
    const auto bits = std::bit_cast<std::uint32_t>(shifted) + 127U;  // biased exponent in the low nine bits
    return p * std::bit_cast<float>(bits << 23U);
}

/// The logistic function 1 / (1 + e^-x) and one minus it, each without cancellation. NaN stays NaN.
struct Logistic {
    float value, complement;
};

inline Logistic simd_logistic(float x) {
    x = x < -80.0F ? -80.0F : x;  // the exponential stays finite
    const float e = simd_exp(-x);
    const float value = 1.0F / (1.0F + e);
    return {value, e * value};
}

}  // namespace kiban::worker
