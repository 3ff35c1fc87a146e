// SPDX-License-Identifier: Apache-2.0
#include "data/permutation.h"

#include <charconv>
#include <cmath>

#include "data/digest.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

__extension__ using Wide = unsigned __int128;

// The finaliser of MurmurHash3 (Appleby): every input bit flips every output bit with probability near one half.
std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdULL;
    x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53ULL;
    return x ^ (x >> 33);
}

// A value of [0, range): the high half of the product, which needs no division.
std::uint64_t round_value(std::uint64_t half, std::uint64_t key, std::uint64_t range) {
    return static_cast<std::uint64_t>((Wide{mix(half ^ key)} * range) >> 64);
}

std::uint64_t add(std::uint64_t x, std::uint64_t y, std::uint64_t range) {
    return x + y >= range ? x + y - range : x + y;
}
std::uint64_t subtract(std::uint64_t x, std::uint64_t y, std::uint64_t range) { return x >= y ? x - y : x + range - y; }

std::uint64_t ceil_sqrt(std::uint64_t n) {
    auto root = static_cast<std::uint64_t>(std::sqrt(static_cast<double>(n)));
    while (root * root >= n && root > 1) --root;
    while (root * root < n) ++root;
    return root;
}

std::uint64_t word_of(const std::string& hex, std::size_t index) {
    std::uint64_t word = 0;
    std::from_chars(hex.data() + 16 * index, hex.data() + 16 * (index + 1), word, 16);
    return word;
}

}  // namespace

Permutation::Permutation(std::uint64_t size, std::uint64_t seed, const std::string& id)
    : size_(size), high_range_(0), low_range_(0), keys_{} {
    KIBAN_CHECK(size >= 1 && size < (1ULL << 62), "a permutation of {} elements", size);
    high_range_ = ceil_sqrt(size);
    low_range_ = (size + high_range_ - 1) / high_range_;
    for (std::size_t half = 0; half < 2; ++half) {
        const std::string digest = sha256(fmt::format("kiban order 1\n{}\n{}\n{}", seed, id, half));
        for (std::size_t word = 0; word < 4; ++word) keys_[4 * half + word] = word_of(digest, word);
    }
}

Permutation::Keys Permutation::keys_of(std::uint64_t epoch) const {
    Keys keys = keys_;
    for (std::size_t round = 0; round < keys.size(); ++round) {
        keys[round] = mix(keys[round] + mix(epoch * 0x9e3779b97f4a7c15ULL + round + 1));
    }
    return keys;
}

std::uint64_t Permutation::forward(const Keys& keys, std::uint64_t index) const {
    KIBAN_CHECK(index < size_, "element {} of {}", index, size_);
    std::uint64_t value = index;
    do {
        std::uint64_t high = value / low_range_;
        std::uint64_t low = value % low_range_;
        for (std::size_t round = 0; round < keys.size(); round += 2) {
            high = add(high, round_value(low, keys[round], high_range_), high_range_);
            low = add(low, round_value(high, keys[round + 1], low_range_), low_range_);
        }
        value = high * low_range_ + low;
    } while (value >= size_);
    return value;
}

std::uint64_t Permutation::inverse(std::uint64_t epoch, std::uint64_t image) const {
    KIBAN_CHECK(image < size_, "element {} of {}", image, size_);
    const Keys keys = keys_of(epoch);
    std::uint64_t value = image;
    do {
        std::uint64_t high = value / low_range_;
        std::uint64_t low = value % low_range_;
        for (std::size_t round = keys.size(); round > 0; round -= 2) {
            low = subtract(low, round_value(high, keys[round - 1], low_range_), low_range_);
            high = subtract(high, round_value(low, keys[round - 2], high_range_), high_range_);
        }
        value = high * low_range_ + low;
    } while (value >= size_);
    return value;
}

}  // namespace kiban::data
