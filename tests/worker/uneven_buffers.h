// SPDX-License-Identifier: Apache-2.0
// Buffers whose sums depend on their order, and whose sizes meet every edge of how they are cut. Pure.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstring>
#include <vector>

namespace kiban::worker {

// Nothing, one, fewer than ranks, about one slot, about as many as there are slots, and many rounds.
inline constexpr std::size_t kSizes[] = {
    0, 1, 3, 4097, (1 << 17) - 1, (1 << 17) + 1, 3 * (1 << 17) + 5, (1 << 20) + 17};

template <typename T>
std::vector<T> uneven(std::size_t size, int seed) {
    std::vector<T> values(size);
    for (std::size_t i = 0; i < size; ++i) {
        const int power = static_cast<int>((i * 7 + static_cast<std::size_t>(seed) * 5) % 13);
        values[i] = static_cast<T>((i % 2 == 0 ? 1.0 : -1.0) * std::pow(10.0, power) / (3.0 + seed));
    }
    return values;
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace kiban::worker
