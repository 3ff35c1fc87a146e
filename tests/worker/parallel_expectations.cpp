// SPDX-License-Identifier: Apache-2.0
#include "tests/worker/parallel_expectations.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

namespace kiban::worker {
namespace {

using Tensors = std::map<std::string, std::vector<float>>;

double norm_of(const std::vector<float>& values) {
    double sum = 0;
    for (const float value : values) sum += static_cast<double>(value) * value;
    return std::sqrt(sum);
}

double norm_of(const Tensors& tensors) {
    double sum = 0;
    for (const auto& [name, values] : tensors) sum += std::pow(norm_of(values), 2);
    return std::sqrt(sum);
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
    if (a.size() != b.size()) return INFINITY;
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - b[i], 2);
    return std::sqrt(sum);
}

void expect_same_gradients(const Tensors& found, const Tensors& expected, const std::string& what) {
    ASSERT_EQ(found.size(), expected.size()) << what;
    const double all = norm_of(expected);
    for (const auto& [name, gradient] : expected) {
        ASSERT_TRUE(found.contains(name)) << what << ": " << name;
        EXPECT_LE(distance(found.at(name), gradient), 1e-5 * std::max(norm_of(gradient), 1e-4 * all))
            << what << ": " << name;
    }
}

}  // namespace

void expect_same(const Trained& found, const Trained& expected, const std::string& what) {
    ASSERT_EQ(found.losses.size(), expected.losses.size());
    for (std::size_t i = 0; i < expected.losses.size(); ++i) {
        EXPECT_NEAR(found.losses[i], expected.losses[i], 1e-5 * expected.losses[i]) << what << ", step " << i + 1;
        EXPECT_NEAR(found.norms[i], expected.norms[i], 1e-4 * expected.norms[i]) << what << ", step " << i + 1;
    }
    EXPECT_NEAR(found.holdout, expected.holdout, 1e-5 * expected.holdout) << what;
    expect_same_gradients(found.first, expected.first, what);
}

}  // namespace kiban::worker
