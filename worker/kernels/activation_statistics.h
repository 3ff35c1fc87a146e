// SPDX-License-Identifier: Apache-2.0
// What activations say of a network's health, as sums and largest values: of any parts of the tokens and heads, the
// sums add up and the larger values stay, so it does not matter who computed which part. On the host's memory.
//
// Uses the OpenMP threads of the process for attention; no result depends on their number.
#pragma once

#include <cstdint>
#include <limits>

#include "worker/kernels/attention.h"

namespace kiban::worker {

struct Moments {       // of the elements of some rows
    double count = 0;  // elements
    double sum = 0;
    double squares = 0;
    double cubes = 0;
    double fourths = 0;
    double largest = 0;     // magnitude
    double directions = 0;  // rows that are not zero

    double rms() const;
    /// E (x - mean)^4 / (E (x - mean)^2)^2: 3 for a normal distribution, more with outliers.
    double kurtosis() const;
};

/// Adds those of x [rows, width], and to direction [width] each row divided by its length.
void add_moments(std::int64_t rows, std::int64_t width, const float* x, Moments& moments, double* direction);

/// Mean cosine of the angle between two different rows of `count`, whose directions sum to `direction` [width]: the
/// square of the sum's length is count + 2 (sum of all cosines). NaN for fewer than two.
double mean_cosine(double count, const double* direction, std::int64_t width);

struct AttentionSums {
    double entropy_nats = 0;  // of the probabilities of each query, summed
    double queries = 0;
    double largest = -std::numeric_limits<double>::infinity();  // of q.k / sqrt(K)
};

/// Queries of a row that are looked at: so many, evenly spaced and ending with the last one; all where there are fewer.
inline constexpr std::int64_t kSampledQueries = 16;

/// Adds those of the sampled queries of every head, in the first `rows` rows of packed qkv [B*T, packed_width], each
/// with the keys that it attends to.
void add_attention(const AttentionShape& shape, std::int64_t rows, const float* qkv, AttentionSums& sums);

}  // namespace kiban::worker
