// SPDX-License-Identifier: Apache-2.0
// Counter-based initial weights: a value depends on (seed, tensor name, index in the tensor) alone, so any shard is
// made in place.
//
// Philox4x32-10 (Salmon et al. 2011) keyed by XXH3-64 of the name, seeded with the run's seed; block i / 4 of the
// counter gives four words, which Box and Muller's transform (1958) turns into four normal deviates in double.
// Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace kiban::worker {

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// Fills out[0 .. count) with elements begin .. begin + count of the tensor's normal deviates, mean 0. Uses the OpenMP
/// threads.
void fill_normal(std::uint64_t seed, const std::string& name, double deviation, std::int64_t begin, std::int64_t count,
                 float* out);

}  // namespace kiban::worker
