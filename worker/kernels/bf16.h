// SPDX-License-Identifier: Apache-2.0
// bfloat16: the upper half of an IEEE 754 single, 8 significant bits; what rounds to it and back.
//
// Rounding is to the nearest, ties to even: a finite value moves by at most 2^-8 of itself (unit roundoff; values below
// 2^-126 by less than 2^-133). NaN stays NaN, what lies above the largest finite bf16 becomes infinite. The results do
// not depend on the number of threads.
#pragma once

#include <bit>
#include <cstdint>

namespace kiban::worker {

struct Bf16 {
    std::uint16_t bits;
    bool operator==(const Bf16&) const = default;
};

inline float widened(Bf16 x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16U); }

inline Bf16 rounded(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t nearest = (bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U;
    const std::uint32_t quiet = (bits >> 16U) | 0x40U;
    return {static_cast<std::uint16_t>((bits & 0x7fffffffU) > 0x7f800000U ? quiet : nearest)};
}

/// `count` values, on the calling thread: for use inside other kernels' parallel loops.
void round_run(std::int64_t count, const float* x, Bf16* y);
void widen_run(std::int64_t count, const Bf16* x, float* y);

/// The same, shared out over the OpenMP threads of the process.
void round_all(std::int64_t count, const float* x, Bf16* y);
void widen_all(std::int64_t count, const Bf16* x, float* y);

/// Rounds [rows, columns] floats into the first half of each row's own memory: afterwards row r's bf16 values stand at
/// 2 * columns * r, counted in Bf16. OpenMP.
Bf16* round_rows_in_place(std::int64_t rows, std::int64_t columns, float* x);

}  // namespace kiban::worker
