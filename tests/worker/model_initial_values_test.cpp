// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/worker/random_floats.h"
#include "worker/model/initial_values.h"

namespace kiban::worker {
namespace {

using Words = std::array<std::uint32_t, 4>;

// The known answers that Salmon et al. publish with Random123 (kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, GivesThePublishedKnownAnswers) {
    EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    EXPECT_EQ(philox4x32({~0U, ~0U, ~0U, ~0U}, {~0U, ~0U}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(InitialValues, HaveTheMomentsOfANormalDistribution) {
    constexpr std::int64_t kCount = 1'000'000;
    std::vector<float> values(kCount);
    fill_normal(1337, "layers.0.mlp.up.weight", 0.02, 0, kCount, values.data());
    double mean = 0;
    double second = 0;
    double fourth = 0;
    double neighbours = 0;
    for (std::size_t i = 0; i < kCount; ++i) {
        const double z = static_cast<double>(values[i]) / 0.02;
        mean += z / kCount;
        second += z * z / kCount;
        fourth += z * z * z * z / kCount;
        if (i > 0) neighbours += z * static_cast<double>(values[i - 1]) / 0.02 / kCount;
    }
    // Five standard errors: 1/1000, sqrt(2)/1000, sqrt(96)/1000, 1/1000.
    EXPECT_NEAR(mean, 0.0, 0.005);
    EXPECT_NEAR(second, 1.0, 0.0071);
    EXPECT_NEAR(fourth, 3.0, 0.049);
    EXPECT_NEAR(neighbours, 0.0, 0.005);
}

TEST(InitialValues, DependOnTheIndexAloneAndNotOnThePartOrTheThreads) {
    std::vector<float> whole(1003);
    with_threads(1, [&] { fill_normal(5, "head.weight", 1.0, 0, 1003, whole.data()); });
    for (const std::int64_t begin : {0, 1, 2, 3, 250, 999}) {
        std::vector<float> part(static_cast<std::size_t>(1003 - begin));
        with_threads(2, [&] { fill_normal(5, "head.weight", 1.0, begin, 1003 - begin, part.data()); });
        EXPECT_EQ(part, std::vector<float>(whole.begin() + begin, whole.end())) << "from " << begin;
    }
}

TEST(InitialValues, DifferBetweenNamesAndSeeds) {
    std::vector<std::vector<float>> results(3, std::vector<float>(4));
    fill_normal(5, "layers.0.attention.q.weight", 1.0, 0, 4, results[0].data());
    fill_normal(5, "layers.1.attention.q.weight", 1.0, 0, 4, results[1].data());
    fill_normal(6, "layers.0.attention.q.weight", 1.0, 0, 4, results[2].data());
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_NE(results[0][i], results[1][i]);
        EXPECT_NE(results[0][i], results[2][i]);
    }
}

// A checkpoint's weights can be made again from the seed: these values may never change.
TEST(InitialValues, StayTheSameBetweenVersions) {
    std::vector<float> values(4);
    fill_normal(1337, "embedding.weight", 0.02, 0, 4, values.data());
    const std::vector<float> golden = {-0.0043890048F, -0.0090769697F, -0.0053537441F, -0.025320128F};
    for (std::size_t i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(values[i], golden[i]) << i;
}

}  // namespace
}  // namespace kiban::worker
