// SPDX-License-Identifier: Apache-2.0
// Which texts are nearly the same: MinHash of their runs of words, cut into bands (Broder 1997; Leskovec, Rajaraman and
// Ullman, Mining of Massive Datasets, chapter 3).
//
// Two texts whose sets of runs of kShingleWords words have similarity J (shared runs of all runs) share a band with
// probability 1 - (1 - J^8)^14: 0.92 at J = 0.8, 0.05 at J = 0.5. One permutation makes all 112 minima; bins that stay
// empty take over others' (Shrivastava, Optimal Densification for Fast and Accurate Minwise Hashing, 2017).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace kiban::data {

inline constexpr std::size_t kShingleWords = 5;
inline constexpr std::size_t kBands = 14;
inline constexpr std::size_t kBandRows = 8;

using BandKeys = std::array<std::uint64_t, kBands>;

/// A pure function of the text. A text of fewer words is one run; texts without words are the same when their bytes
/// are.
BandKeys band_keys(std::string_view text);

}  // namespace kiban::data
