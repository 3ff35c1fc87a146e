// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding (Su et al. 2021), half-split: component i turns with component i + K/2.
//
// Uses the OpenMP threads of the process; the result does not depend on their number.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "worker/kernels/bf16.h"

namespace kiban::worker {

struct RotaryTable {  // [tokens, head_size / 2] each; angle = position * theta^(-2 i / head_size), formed in double
    std::int64_t head_size = 0;
    std::vector<float> cosines;
    std::vector<float> sines;
    mutable std::shared_ptr<const float> on_device = nullptr;  // a copy of both, made where it is first used
};

RotaryTable rotary_table(std::int64_t tokens, std::int64_t head_size, double theta);

enum class Turn { forward, backward };

/// Turns in place the first `heads` heads of each row of x [rows, stride]; row r stands at position r % tokens_per_row.
/// Turn::backward is the inverse, and so the gradient's way.
void rotate(const RotaryTable& table, Turn turn, std::int64_t rows, std::int64_t tokens_per_row, std::int64_t heads,
            std::int64_t stride, float* x);
/// The same, turned in fp32 and rounded once.
void rotate(const RotaryTable& table, Turn turn, std::int64_t rows, std::int64_t tokens_per_row, std::int64_t heads,
            std::int64_t stride, Bf16* x);

}  // namespace kiban::worker
