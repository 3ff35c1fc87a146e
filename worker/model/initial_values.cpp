// SPDX-License-Identifier: Apache-2.0
#include "worker/model/initial_values.h"

#include <xxhash.h>

#include <cmath>
#include <numbers>

namespace kiban::worker {

namespace {

std::array<double, 4> normal_block(std::uint64_t block, std::array<std::uint32_t, 2> key) {
    const auto words =
        philox4x32({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32U), 0, 0}, key);
    std::array<double, 4> normals{};
    for (std::size_t pair = 0; pair < 4; pair += 2) {
        constexpr double kScale = 1.0 / 4294967296.0;                        // 2^-32
        const double u = (static_cast<double>(words[pair]) + 1.0) * kScale;  // (0, 1]: the logarithm stays finite
        const double angle = 2.0 * std::numbers::pi * static_cast<double>(words[pair + 1]) * kScale;
        const double radius = std::sqrt(-2.0 * std::log(u));
        normals[pair] = radius * std::cos(angle);
        normals[pair + 1] = radius * std::sin(angle);
    }
    return normals;
}

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t first = std::uint64_t{0xD2511F53U} * counter[0];
        const std::uint64_t second = std::uint64_t{0xCD9E8D57U} * counter[2];
        counter = {static_cast<std::uint32_t>(second >> 32U) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(second),
                   static_cast<std::uint32_t>(first >> 32U) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(first)};
        key[0] += 0x9E3779B9U;
        key[1] += 0xBB67AE85U;
    }
    return counter;
}

void fill_normal(std::uint64_t seed, const std::string& name, double deviation, std::int64_t begin, std::int64_t count,
                 float* out) {
    const std::uint64_t hash = XXH3_64bits_withSeed(name.data(), name.size(), seed);
    const std::array<std::uint32_t, 2> key = {static_cast<std::uint32_t>(hash),
                                              static_cast<std::uint32_t>(hash >> 32U)};
    const std::int64_t end = begin + count;
    const std::int64_t last_block = (end + 3) / 4;
#pragma omp parallel for schedule(static)
    for (std::int64_t block = begin / 4; block < last_block; ++block) {
        const auto normals = normal_block(static_cast<std::uint64_t>(block), key);
        for (std::int64_t lane = 0; lane < 4; ++lane) {
            const std::int64_t index = block * 4 + lane;
            if (index < begin || index >= end) continue;
            out[index - begin] = static_cast<float>(deviation * normals[static_cast<std::size_t>(lane)]);
        }
    }
}

}  // namespace kiban::worker
