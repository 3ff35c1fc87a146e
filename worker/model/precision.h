// SPDX-License-Identifier: Apache-2.0
// What the matrices of a model are multiplied in. Parameters, gradients, sums and the residual stream are fp32 in both.
#pragma once

#include <cstdint>

namespace kiban::worker {

enum class Precision : std::uint8_t { fp32, bf16 };

}  // namespace kiban::worker
