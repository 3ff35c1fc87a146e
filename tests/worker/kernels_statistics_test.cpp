// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "monitoring/error.h"
#include "worker/kernels/activation_statistics.h"
#include "worker/model/embedding_geometry.h"

namespace kiban::worker {
namespace {

struct Rows {
    explicit Rows(std::int64_t row_width) : width(row_width), direction(static_cast<std::size_t>(row_width)) {}

    void add(const std::vector<float>& values) {
        add_moments(static_cast<std::int64_t>(values.size()) / width, width, values.data(), moments, direction.data());
    }
    double cosine() const { return mean_cosine(moments.directions, direction.data(), width); }

    std::int64_t width;
    Moments moments;
    std::vector<double> direction;
};

TEST(ActivationStatistics, MomentsAreThoseOfAllElements) {
    Rows rows(3);
    rows.add({1, 2, 3, -4, 0, 5});
    EXPECT_EQ(rows.moments.count, 6);
    EXPECT_EQ(rows.moments.largest, 5);
    EXPECT_DOUBLE_EQ(rows.moments.rms(), std::sqrt(55.0 / 6));
    const double mean = 7.0 / 6;
    double second = 0;
    double fourth = 0;
    for (const double x : {1.0, 2.0, 3.0, -4.0, 0.0, 5.0}) {
        second += std::pow(x - mean, 2) / 6;
        fourth += std::pow(x - mean, 4) / 6;
    }
    EXPECT_NEAR(rows.moments.kurtosis(), fourth / (second * second), 1e-12);
}

TEST(ActivationStatistics, PartsAddUpToTheWhole) {
    Rows parts(2);
    parts.add({1, 7});
    parts.add({-3, 2, 0.5, -9});
    Rows whole(2);
    whole.add({1, 7, -3, 2, 0.5, -9});
    EXPECT_EQ(parts.moments.fourths, whole.moments.fourths);
    EXPECT_EQ(parts.moments.largest, 9);
    EXPECT_EQ(parts.cosine(), whole.cosine());
}

TEST(ActivationStatistics, KurtosisIsOneForTwoValuesAndKnowsNoOffset) {
    Rows coin(2);
    coin.add({1, -1, 1, -1});
    EXPECT_DOUBLE_EQ(coin.moments.kurtosis(), 1);
    Rows lifted(2);
    lifted.add({11, 9, 11, 9});
    EXPECT_NEAR(lifted.moments.kurtosis(), 1, 1e-9);
}

TEST(ActivationStatistics, TheMeanCosineIsThatOfAllPairs) {
    Rows same(2);
    same.add({1, 2, 3, 6, 0.5, 1});
    EXPECT_NEAR(same.cosine(), 1, 1e-12);
    Rows crossed(2);
    crossed.add({5, 0, 0, 0.1F});
    EXPECT_NEAR(crossed.cosine(), 0, 1e-12);
    Rows three(2);
    three.add({1, 0, 0, 1, -1, 0});  // cosines 0, -1, 0
    EXPECT_NEAR(three.cosine(), -1.0 / 3, 1e-12);
    Rows with_zero(2);
    with_zero.add({1, 1, 0, 0, 2, 2});  // what has no direction is in no pair
    EXPECT_NEAR(with_zero.cosine(), 1, 1e-12);
    Rows one(2);
    one.add({1, 1});
    EXPECT_TRUE(std::isnan(one.cosine()));
}

AttentionShape small_attention(std::int64_t tokens) {
    return {.batch = 2, .tokens = tokens, .heads = 2, .kv_heads = 1, .head_size = 4};
}

TEST(ActivationStatistics, QueriesThatPreferNothingHaveTheEntropyOfEqualShares) {
    const AttentionShape shape = small_attention(40);
    const std::vector<float> qkv(static_cast<std::size_t>(2 * 40 * shape.packed_width()), 0.0F);
    AttentionSums sums;
    add_attention(shape, 2, qkv.data(), sums);
    double expected = 0;
    for (std::int64_t i = 1; i <= kSampledQueries; ++i) expected += std::log(static_cast<double>(i * 40 / 16));
    EXPECT_EQ(sums.queries, 2 * 2 * 16);
    EXPECT_NEAR(sums.entropy_nats, 4 * expected, 1e-5);
    EXPECT_EQ(sums.largest, 0);
}

TEST(ActivationStatistics, AQueryIsUncertainAmongTheKeysOfItsOwnDocument) {
    AttentionShape shape = small_attention(8);
    const std::vector<std::int32_t> positions = {0, 1, 2, 0, 1, 0, 1, 2,  //
                                                 0, 0, 0, 0, 1, 2, 3, 4};
    shape.positions = positions.data();
    const std::vector<float> qkv(static_cast<std::size_t>(2 * 8 * shape.packed_width()), 0.0F);
    AttentionSums sums;
    add_attention(shape, 2, qkv.data(), sums);
    double expected = 0;
    for (const std::int32_t before : positions) expected += std::log(before + 1.0);
    EXPECT_NEAR(sums.entropy_nats, 2 * expected, 1e-5) << "of two heads";
}

TEST(ActivationStatistics, QueriesThatSeeOneKeyHaveNoEntropyAndTheScoreIsDividedByTheRootOfTheHeadSize) {
    const AttentionShape shape = small_attention(8);  // all queries are looked at
    std::vector<float> qkv(static_cast<std::size_t>(2 * 8 * shape.packed_width()), 0.0F);
    for (std::int64_t token = 0; token < 16; ++token) {
        float* row = qkv.data() + token * shape.packed_width();
        row[0] = row[4] = 100;                  // of both query heads
        row[8] = token % 8 == 0 ? 3.0F : 0.0F;  // the key of each row's first token
    }
    AttentionSums sums;
    add_attention(shape, 1, qkv.data(), sums);
    EXPECT_EQ(sums.queries, 2 * 8) << "of the rows that are asked for";
    EXPECT_NEAR(sums.entropy_nats, 0, 1e-6);
    EXPECT_EQ(sums.largest, 100.0 * 3 / 2);
}

TEST(EmbeddingGeometry, AnEmbeddingThatHasCollapsedHasRankOne) {
    std::vector<float> x;
    for (int row = 0; row < 6; ++row) x.insert(x.end(), {0.3F, 0.0F, 0.4F, 0.0F});
    const EmbeddingGeometry found = embedding_geometry(6, 4, x.data());
    EXPECT_NEAR(found.effective_rank, 1, 1e-5);
    EXPECT_NEAR(found.isotropy_ratio, std::exp(-2 * 0.5), 1e-6) << "towards it and away from it";
    EXPECT_NEAR(found.uniformity, 0, 1e-6);
}

TEST(EmbeddingGeometry, OrthogonalRowsHaveTheRankOfTheirLengths) {
    const std::vector<double> lengths = {1.0, 2.0, 0.5};
    std::vector<float> x(3 * 5, 0.0F);
    double entropy = 0;
    for (std::size_t i = 0; i < 3; ++i) {
        x[i * 5 + i] = static_cast<float>(lengths[i]);
        entropy -= lengths[i] / 3.5 * std::log(lengths[i] / 3.5);
    }
    const EmbeddingGeometry found = embedding_geometry(3, 5, x.data());
    EXPECT_NEAR(found.effective_rank, std::exp(entropy), 1e-6);
    EXPECT_NEAR(found.isotropy_ratio, (std::exp(-2.0) + 2) / (std::exp(2.0) + 2), 1e-6);
    EXPECT_NEAR(found.uniformity, -4, 1e-6) << "every pair is at the distance of the root of two";
}

TEST(EmbeddingGeometry, MoreRowsThanDimensionsGiveTheSameSizes) {
    std::vector<float> x;
    for (const float length : {1.0F, 3.0F}) {
        for (const float sign : {1.0F, -1.0F}) {
            x.push_back(length == 1.0F ? sign : 0.0F);
            x.push_back(length == 3.0F ? 3 * sign : 0.0F);
        }
    }
    const EmbeddingGeometry found = embedding_geometry(4, 2, x.data());
    EXPECT_NEAR(found.effective_rank, std::exp(-0.25 * std::log(0.25) - 0.75 * std::log(0.75)), 1e-6);
    EXPECT_NEAR(found.isotropy_ratio, (2 * std::cosh(1.0) + 2) / (2 * std::cosh(3.0) + 2), 1e-6);
    EXPECT_NEAR(found.uniformity, std::log((2 * std::exp(-8.0) + 4 * std::exp(-4.0)) / 6), 1e-6)
        << "of six pairs two are opposites";
}

TEST(EmbeddingGeometry, WhatCannotBeSaidIsNoNumber) {
    const std::vector<float> zeros(6, 0.0F);
    EXPECT_TRUE(std::isnan(embedding_geometry(3, 2, zeros.data()).effective_rank));
    const std::vector<float> broken = {1, std::nanf(""), 2, 3};
    EXPECT_TRUE(std::isnan(embedding_geometry(2, 2, broken.data()).isotropy_ratio));
    const std::vector<float> one = {3, 4};
    EXPECT_TRUE(std::isnan(embedding_geometry(1, 2, one.data()).uniformity)) << "there is no pair";
}

TEST(EmbeddingGeometry, SampledRowsAreSpreadOverTheTable) {
    EXPECT_EQ(sampled_embeddings(3), (std::vector<std::int64_t>{0, 1, 2}));
    const std::vector<std::int64_t> sampled = sampled_embeddings(1100);
    ASSERT_EQ(sampled.size(), 512U);
    for (std::size_t i = 1; i < sampled.size(); ++i) EXPECT_GE(sampled[i] - sampled[i - 1], 2);
    EXPECT_LT(sampled.back(), 1100);
}

}  // namespace
}  // namespace kiban::worker
