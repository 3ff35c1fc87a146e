// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "worker/comm/tree_sum.h"

namespace kiban::worker {
namespace {

std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

// Terms of very different sizes and signs, so that another order gives other bits.
double uneven(std::int64_t k, std::int64_t i) {
    return (k % 2 == 0 ? 1.0 : -1.0) * std::pow(10.0, static_cast<double>((k * 7 + i) % 13)) / 3.0;
}

template <typename T>
std::vector<std::vector<T>> uneven_terms(std::int64_t number, std::int64_t count) {
    std::vector<std::vector<T>> terms(index(number), std::vector<T>(index(count)));
    for (std::int64_t k = 0; k < number; ++k) {
        for (std::int64_t i = 0; i < count; ++i) terms[index(k)][index(i)] = static_cast<T>(uneven(k, i));
    }
    return terms;
}

template <typename T>
std::vector<const T*> addresses(const std::vector<std::vector<T>>& terms) {
    std::vector<const T*> places;
    for (const std::vector<T>& term : terms) places.push_back(term.data());
    return places;
}

template <typename T>
void expect_sums_of_every_number_of_terms() {
    for (const std::int64_t count : {0, 1, 7, 1024, 3001}) {
        for (std::int64_t number = 1; number <= 17; ++number) {
            const auto terms = uneven_terms<T>(number, count);
            std::vector<T> sum(index(count), T(-1));
            tree_sum(addresses(terms), sum.data(), count);
            for (std::int64_t i = 0; i < count; ++i) {
                const auto term = [&](std::int64_t k) { return terms[index(k)][index(i)]; };
                ASSERT_EQ(sum[index(i)], tree_sum_of(0, number, term)) << number << " terms, element " << i;
            }
        }
    }
}

TEST(TreeSum, BuffersAndSingleValuesAgreeInEveryBit) {
    expect_sums_of_every_number_of_terms<float>();
    expect_sums_of_every_number_of_terms<double>();
}

TEST(TreeSum, ThreeAndFourTermsHaveTheParenthesesOfTheTree) {
    const float a = 1.0F;
    const float b = std::ldexp(1.0F, -24);  // half of what 1 can resolve: alone it is lost, two of them are not
    const float c = b;
    const float d = b;
    const std::vector<const float*> terms = {&a, &b, &c, &d};
    float sum = 0;
    tree_sum(std::span(terms).first(3), &sum, 1);
    EXPECT_EQ(sum, a + (b + c));
    EXPECT_NE(sum, (a + b) + c);
    tree_sum(terms, &sum, 1);
    EXPECT_EQ(sum, (a + b) + (c + d));
    EXPECT_NE(sum, ((a + b) + c) + d);
}

TEST(TreeSum, TheResultMayReplaceAnyOfTheTerms) {
    const std::int64_t count = 2500;
    for (std::int64_t place = 0; place < 5; ++place) {
        const auto terms = uneven_terms<float>(5, count);
        std::vector<float> expected(index(count));
        tree_sum(addresses(terms), expected.data(), count);
        auto overwritten = terms;
        tree_sum(addresses(overwritten), overwritten[index(place)].data(), count);
        EXPECT_EQ(overwritten[index(place)], expected) << place;
    }
}

}  // namespace
}  // namespace kiban::worker
