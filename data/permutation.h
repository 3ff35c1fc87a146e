// SPDX-License-Identifier: Apache-2.0
// A keyed permutation of [0, n) per epoch, without a table: the generalised Feistel cipher over Z_a x Z_b with cycle
// walking (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002, section 4). Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace kiban::data {

class Permutation {
  public:
    static constexpr int kRounds = 8;
    using Keys = std::array<std::uint64_t, kRounds>;

    /// Of `size` (at least 1) elements, keyed by SHA-256 of (seed, id).
    Permutation(std::uint64_t size, std::uint64_t seed, const std::string& id);

    std::uint64_t size() const { return size_; }
    /// Where element `index` of the epoch goes; `index` below size().
    std::uint64_t forward(std::uint64_t epoch, std::uint64_t index) const { return forward(keys_of(epoch), index); }
    /// The same, for many elements of an epoch.
    std::uint64_t forward(const Keys& keys, std::uint64_t index) const;
    Keys keys_of(std::uint64_t epoch) const;
    std::uint64_t inverse(std::uint64_t epoch, std::uint64_t image) const;

  private:
    std::uint64_t size_;
    std::uint64_t high_range_;  // a: the domain a*b is the smallest near-square that holds [0, size)
    std::uint64_t low_range_;   // b
    Keys keys_;
};

}  // namespace kiban::data
