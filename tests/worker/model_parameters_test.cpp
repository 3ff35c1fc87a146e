// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "monitoring/error.h"
#include "tests/support/message_of.h"
#include "worker/model/parameters.h"

namespace kiban::worker {
namespace {

using coordinator::Init;
using coordinator::TensorSpec;

std::vector<TensorSpec> specs() {
    return {{"q.weight", {2, 3}, true, Init::normal, 0.5},
            {"k.weight", {1, 3}, true, Init::normal, 0.5},
            {"norm.weight", {3}, false, Init::ones, 0.0}};
}

TEST(Parameters, LieInTheOrderOfTheInventoryInOneAlignedBuffer) {
    Parameters parameters(specs());
    EXPECT_EQ(parameters.elements(), 12);
    EXPECT_EQ(parameters.entry("k.weight").offset, 6);
    EXPECT_EQ(parameters.entry("norm.weight").offset, 9);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(parameters.values()) % 64, 0U);
    parameters.values()[7] = 42.0F;
    EXPECT_EQ(parameters.value("k.weight")[0][1].item<float>(), 42.0F);
    EXPECT_EQ(parameters.value_span("q.weight", "k.weight").sizes(), (std::vector<std::int64_t>{3, 3}));
    EXPECT_EQ(parameters.value_span("q.weight", "k.weight")[2][1].item<float>(), 42.0F);
}

TEST(Parameters, AreInitialisedFromTheNameAndNotFromTheLayout) {
    Parameters parameters(specs());
    std::vector<TensorSpec> reversed = specs();
    std::swap(reversed[0], reversed[1]);
    Parameters other(reversed);
    parameters.initialise(3);
    other.initialise(3);
    EXPECT_TRUE(at::equal(parameters.value("q.weight"), other.value("q.weight")));
    EXPECT_TRUE(at::equal(parameters.value("k.weight"), other.value("k.weight")));
    EXPECT_TRUE(at::equal(parameters.value("norm.weight"), at::ones({3})));
    EXPECT_FALSE(at::equal(parameters.value("q.weight")[0], parameters.value("k.weight")[0]));
}

TEST(Parameters, GiveZeroForGradientsThatNoPassTouched) {
    Parameters parameters(specs());
    for (int i = 0; i < 12; ++i) parameters.gradients()[i] = 9.0F;
    parameters.zero_gradients();
    const Accumulator first = parameters.claim_gradient(1, 1);
    EXPECT_EQ(first.beta, 0.0F);
    EXPECT_EQ(parameters.claim_gradient(1, 1).beta, 1.0F);
    for (int i = 0; i < 3; ++i) first.sums[i] = 4.0F;
    const float* gradients = parameters.gradients();
    for (int i = 0; i < 12; ++i) EXPECT_EQ(gradients[i], i >= 6 && i < 9 ? 4.0F : 0.0F) << i;
}

TEST(Parameters, RefuseToAddToNeighboursOfWhichSomeHoldASum) {
    Parameters parameters(specs());
    parameters.zero_gradients();
    parameters.claim_gradient(0, 0);
    EXPECT_NE(message_of<InternalError>([&] { parameters.claim_gradient(0, 1); }).find("only some of them hold a sum"),
              std::string::npos);
}

TEST(Parameters, NameTheTensorTheyDoNotHave) {
    const Parameters parameters(specs());
    EXPECT_NE(message_of<InternalError>([&] { parameters.value("v.weight"); }).find("'v.weight'"), std::string::npos);
    EXPECT_NE(message_of<InternalError>([&] {
                  parameters.value_span("k.weight", "norm.weight");
              }).find("'norm.weight' has other dimensions"),
              std::string::npos);
}

TEST(Parameters, RefuseTwoTensorsOfOneName) {
    std::vector<TensorSpec> twice = specs();
    twice[1].name = "q.weight";
    EXPECT_NE(
        message_of<InternalError>([&] { Parameters parameters(twice); }).find("two tensors are called 'q.weight'"),
        std::string::npos);
}

}  // namespace
}  // namespace kiban::worker
