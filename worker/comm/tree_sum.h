// SPDX-License-Identifier: Apache-2.0
// The canonical order of every floating-point sum over ranks or buffers: one fixed binary tree.
//
// With mid = lo + (hi - lo) / 2, tree(lo, hi) = tree(lo, mid) + tree(mid, hi), and the tree of one term is the term.
// Four terms are (t0 + t1) + (t2 + t3), three are t0 + (t1 + t2). Who sums, and in how many pieces, changes no bit.
#pragma once

#include <cstdint>
#include <span>

namespace kiban::worker {

/// Where the tree over terms [lo, hi) is cut in two.
constexpr std::int64_t tree_middle(std::int64_t lo, std::int64_t hi) { return lo + (hi - lo) / 2; }

/// The tree's sum of term(lo), ..., term(hi - 1); lo < hi. For single values; buffers go through tree_sum.
template <typename Term>
auto tree_sum_of(std::int64_t lo, std::int64_t hi, const Term& term) {
    if (hi - lo == 1) return term(lo);
    const std::int64_t mid = tree_middle(lo, hi);
    return tree_sum_of(lo, mid, term) + tree_sum_of(mid, hi, term);
}

/// out[i] = the tree's sum over k of terms[k][i], for i < count; at least one term, at most 2^31. `out` may be one of
/// the terms, but must not overlap one otherwise. Works in blocks that stay in the first-level cache; no allocation.
void tree_sum(std::span<const float* const> terms, float* out, std::int64_t count);
void tree_sum(std::span<const double* const> terms, double* out, std::int64_t count);

}  // namespace kiban::worker
