// SPDX-License-Identifier: Apache-2.0
// Sums in an order that depends on the shape of their input alone.
#pragma once

#include <cstdint>
#include <span>

#include "worker/kernels/accumulator.h"
#include "worker/kernels/bf16.h"

namespace kiban::worker {

/// Accumulates each column's sum over `rows` rows. Partial sums of 64 rows each, added in order.
/// Uses the OpenMP threads of the process; the result does not depend on their number.
void column_sums(std::int64_t rows, std::int64_t columns, const float* matrix, Accumulator result);
void column_sums(std::int64_t rows, std::int64_t columns, const Bf16* matrix, Accumulator result);

/// sums[i] = the sum of squares of x[i*block] to x[min((i+1)*block, count) - 1], for the ceil(count / block) blocks of
/// `count` floats; block >= 1. In double, one element in sixteen to each of sixteen partial sums, which are then added
/// as a tree: the bits of a sum depend on the floats of its block alone, not on where they stand, the instruction set
/// or the number of threads (the OpenMP threads of the process share the blocks).
void block_sums_of_squares(const float* x, std::int64_t count, std::int64_t block, double* sums);

/// The sum of the first half (rounded down) plus that of the rest, each taken in the same way: the canonical binary
/// tree over the number of values. 0 for none.
double tree_sum(std::span<const double> values);

}  // namespace kiban::worker
