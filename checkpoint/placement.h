// SPDX-License-Identifier: Apache-2.0
// How a tensor lies on one mesh axis. The one vocabulary shared by parallelism (worker/parallel) and checkpoints.
#pragma once

#include <cstdint>

namespace kiban::checkpoint {

struct Placement {
    enum class Kind { replicated, split, partial } kind = Kind::replicated;  // partial: a sum is pending
    std::int64_t dim = 0;                                                    // split: along this tensor dimension

    static Placement Replicated() { return {Kind::replicated, 0}; }
    static Placement Split(std::int64_t dim) { return {Kind::split, dim}; }
    static Placement Partial() { return {Kind::partial, 0}; }
    bool operator==(const Placement&) const = default;
};

/// The contiguous part [begin, end) of `size` elements that belongs to `rank` of `ranks`: as even as possible, larger
/// parts first.
struct Part {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    std::int64_t size() const { return end - begin; }
};
inline Part part_of(std::int64_t size, int rank, int ranks) {
    const std::int64_t base = size / ranks;
    const std::int64_t rest = size % ranks;
    const std::int64_t begin = rank * base + (rank < rest ? rank : rest);
    return {begin, begin + base + (rank < rest ? 1 : 0)};
}

}  // namespace kiban::checkpoint
