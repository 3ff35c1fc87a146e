// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/bf16.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "worker/kernels/simd.h"

namespace kiban::worker {

namespace {

constexpr std::int64_t kBlock = 4096;      // values of one piece of work
constexpr std::int64_t kInPlaceRun = 256;  // values that are read before their place is written

/// run(begin, count) for blocks of `count` values.
template <typename Run>
void in_blocks(std::int64_t count, Run run) {
    const std::int64_t blocks = (count + kBlock - 1) / kBlock;
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < blocks; ++block) run(block * kBlock, std::min(kBlock, count - block * kBlock));
}

}  // namespace

KIBAN_SIMD void round_run(std::int64_t count, const float* x, Bf16* y) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) y[i] = rounded(x[i]);
}

KIBAN_SIMD void widen_run(std::int64_t count, const Bf16* x, float* y) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) y[i] = widened(x[i]);
}

void round_all(std::int64_t count, const float* x, Bf16* y) {
    in_blocks(count, [=](std::int64_t begin, std::int64_t run) { round_run(run, x + begin, y + begin); });
}

void widen_all(std::int64_t count, const Bf16* x, float* y) {
    in_blocks(count, [=](std::int64_t begin, std::int64_t run) { widen_run(run, x + begin, y + begin); });
}

// What is written of a row lies behind what was read of it.
Bf16* round_rows_in_place(std::int64_t rows, std::int64_t columns, float* x) {
    auto* const bytes = reinterpret_cast<unsigned char*>(x);
    const auto row_bytes = static_cast<std::int64_t>(sizeof(float)) * columns;
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < rows; ++row) {
        std::array<float, kInPlaceRun> values;
        std::array<Bf16, kInPlaceRun> halves;
        unsigned char* const start = bytes + row * row_bytes;
        for (std::int64_t first = 0; first < columns; first += kInPlaceRun) {
            const auto run = static_cast<std::size_t>(std::min(kInPlaceRun, columns - first));
            std::memcpy(values.data(), start + first * static_cast<std::int64_t>(sizeof(float)), run * sizeof(float));
            round_run(static_cast<std::int64_t>(run), values.data(), halves.data());
            std::memcpy(start + first * static_cast<std::int64_t>(sizeof(Bf16)), halves.data(), run * sizeof(Bf16));
        }
    }
    return reinterpret_cast<Bf16*>(x);
}

}  // namespace kiban::worker
