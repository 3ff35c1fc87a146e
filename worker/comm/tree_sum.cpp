// SPDX-License-Identifier: Apache-2.0
#include "worker/comm/tree_sum.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <tuple>

#include "monitoring/error.h"
#include "worker/kernels/simd.h"

namespace kiban::worker {
namespace {

constexpr std::size_t kBlockBytes = 4096;
constexpr std::size_t kDepth = 33;  // one partial sum a level of a tree of 2^31 terms, and the last

// Equal addresses are fine: element i is read before it is written, and no other is.
KIBAN_SIMD void add(const float* a, const float* b, float* out, std::int64_t count) {
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) out[i] = a[i] + b[i];
}

KIBAN_SIMD void add(const double* a, const double* b, double* out, std::int64_t count) {
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) out[i] = a[i] + b[i];
}

template <typename T>
struct BlockSum {
    using Block = std::array<T, kBlockBytes / sizeof(T)>;
    static constexpr std::int64_t kCount = std::tuple_size_v<Block>;

    std::span<const T* const> terms;
    std::int64_t offset;
    std::int64_t count;

    // The sum of terms [lo, hi): the term itself, or written to `out`. Partial sums of the right half start one scratch
    // block further, so they spare the left half's.
    const T* reduce(std::int64_t lo, std::int64_t hi, Block* scratch, T* out) const {
        if (hi - lo == 1) return terms[static_cast<std::size_t>(lo)] + offset;
        const std::int64_t mid = tree_middle(lo, hi);
        const T* left = reduce(lo, mid, scratch, scratch->data());
        const T* right = reduce(mid, hi, scratch + 1, (scratch + 1)->data());
        add(left, right, out, count);
        return out;
    }
};

template <typename T>
void sum_in_blocks(std::span<const T* const> terms, T* out, std::int64_t count) {
    using Sum = BlockSum<T>;
    KIBAN_CHECK(!terms.empty(), "a sum needs a term");
    const auto number = static_cast<std::int64_t>(terms.size());
    if (number == 1) {
        if (terms[0] != out && count > 0) std::memcpy(out, terms[0], static_cast<std::size_t>(count) * sizeof(T));
        return;
    }
    std::array<typename Sum::Block, kDepth> scratch;
    for (std::int64_t done = 0; done < count; done += Sum::kCount) {
        const Sum block{terms, done, std::min(Sum::kCount, count - done)};
        block.reduce(0, number, scratch.data(), out + done);
    }
}

}  // namespace

void tree_sum(std::span<const float* const> terms, float* out, std::int64_t count) { sum_in_blocks(terms, out, count); }

void tree_sum(std::span<const double* const> terms, double* out, std::int64_t count) {
    sum_in_blocks(terms, out, count);
}

}  // namespace kiban::worker
