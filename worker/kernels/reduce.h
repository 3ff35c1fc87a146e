// SPDX-License-Identifier: Apache-2.0
// Column sums of a row-major matrix, in an order that depends on its shape alone.
#pragma once

#include <cstdint>

#include "worker/kernels/accumulator.h"

namespace kiban::worker {

/// Accumulates each column's sum over `rows` rows. Partial sums of 64 rows each, added in order.
/// Uses the OpenMP threads of the process; the result does not depend on their number.
void column_sums(std::int64_t rows, std::int64_t columns, const float* matrix, Accumulator result);

}  // namespace kiban::worker
