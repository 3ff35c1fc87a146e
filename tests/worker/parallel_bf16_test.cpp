// SPDX-License-Identifier: Apache-2.0
// The model in bf16, cut along its axes, against the uncut one in bf16.
//
// The bound. Both round the same values, but for differences of fp32: the sums of a cut model take another order. Where
// the fp32 values differ by a part e of themselves (1e-5 at most, what the axes' test in fp32 asks for), the roundings
// of a share e / 2^-7 of them (the spacing of bf16 relative to the value) go to the other neighbour, a difference of
// 2^-7: in the mean square 2^-7 sqrt(e 2^7) = sqrt(e 2^-7) a rounding. n roundings that pass on with gain 1 make
// sqrt(n e 2^-7). Ten roundings a layer and way and two of the head and way, of which the loss sees one way.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "tests/support/mpi_world.h"
#include "tests/worker/parallel_training.h"

namespace kiban::worker {
namespace {

using coordinator::ActivationCheckpointing;
using coordinator::ModelLayout;

constexpr double kDifference = 1e-5;
constexpr double kSpacing = 0x1p-7;
constexpr double kLayers = 4;  // of setup_of()

double bound_of_losses() { return std::sqrt((10 * kLayers + 2) * kDifference * kSpacing); }
double bound_of_gradients() { return std::sqrt((20 * kLayers + 4) * kDifference * kSpacing); }

double norm_of(const std::vector<float>& values) {
    double sum = 0;
    for (const float value : values) sum += static_cast<double>(value) * value;
    return std::sqrt(sum);
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
    if (a.size() != b.size()) return INFINITY;
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - b[i], 2);
    return std::sqrt(sum);
}

// A bias of all keys cancels in the softmax: its gradient is 0, a sum of terms as large as those of the weight.
std::string measured_by(std::string name) {
    if (name.ends_with("k.bias")) name.replace(name.size() - 4, 4, "weight");
    return name;
}

struct Worst {
    double loss = 0;
    double gradient = 0;
};

void expect_near(const Trained& found, const Trained& expected, const std::string& what, Worst& worst) {
    ASSERT_EQ(found.losses.size(), expected.losses.size());
    const auto relative = [](double a, double b) { return std::abs(a / b - 1); };
    for (std::size_t i = 0; i < expected.losses.size(); ++i) {
        const double error = relative(found.losses[i], expected.losses[i]);
        worst.loss = std::max(worst.loss, error);
        EXPECT_LE(error, bound_of_losses()) << what << ", step " << i + 1;
        EXPECT_LE(relative(found.norms[i], expected.norms[i]), 4 * bound_of_gradients()) << what << ", step " << i + 1;
    }
    EXPECT_LE(relative(found.holdout, expected.holdout), bound_of_losses()) << what;
    ASSERT_EQ(found.first.size(), expected.first.size()) << what;
    for (const auto& [name, gradient] : expected.first) {
        ASSERT_TRUE(found.first.contains(name)) << what << ": " << name;
        const double error = distance(found.first.at(name), gradient) / norm_of(expected.first.at(measured_by(name)));
        worst.gradient = std::max(worst.gradient, error);
        EXPECT_LE(error, bound_of_gradients()) << what << ": " << name;
    }
}

// Each axis alone, and combinations, for the number of ranks there is.
std::vector<Recipe> recipes_of(int workers) {
    const auto full = ActivationCheckpointing::full;
    const auto selective = ActivationCheckpointing::selective;
    switch (workers) {
        case 1: return {{.zero = 0}, {.zero = 3, .checkpointing = full}};
        case 2:
            return {{.data = 2, .zero = 0},
                    {.data = 2, .zero = 1},
                    {.data = 2, .zero = 2, .checkpointing = selective},
                    {.data = 2, .zero = 3},
                    {.tensor = 2},
                    {.pipeline = 2},
                    {.data = 2, .zero = 1, .muon = true}};
        case 4:
            return {{.tensor = 4},
                    {.pipeline = 4},
                    {.data = 2, .tensor = 2, .zero = 3},
                    {.tensor = 2, .pipeline = 2},
                    {.data = 4, .zero = 3, .replicate = 2}};
        default:
            return {{.data = 2, .tensor = 2, .pipeline = 2, .zero = 1, .checkpointing = full},
                    {.data = 2, .tensor = 2, .pipeline = 2, .zero = 3},
                    {.data = 4, .tensor = 2, .zero = 2}};
    }
}

class Bf16Axes : public ::testing::TestWithParam<ModelLayout> {};

TEST_P(Bf16Axes, EachAxisAndTheirCombinationsTrainTheUncutModel) {
    const int me = test_world().rank();
    Worst worst;
    for (Recipe recipe : recipes_of(test_world().size())) {
        recipe.layout = GetParam();
        recipe.bf16 = true;
        const Trained found = train(recipe, test_world());
        if (me != 0) continue;
        const Recipe uncut{.zero = 0, .layout = GetParam(), .muon = recipe.muon, .bf16 = true};
        expect_near(found, train(uncut, Group::alone()), recipe.text(), worst);
        if (::testing::Test::HasFatalFailure()) return;
    }
    if (me == 0)
        std::printf("worst relative difference: losses %.2g of %.2g, gradients %.2g of %.2g\n", worst.loss,
                    bound_of_losses(), worst.gradient, bound_of_gradients());
}

TEST_P(Bf16Axes, FixedReductionGivesTheBitsOfOneWorker) {
    const int me = test_world().rank();
    Recipe recipe{.zero = 1, .layout = GetParam(), .fixed = true, .bf16 = true};
    const Trained expected = me == 0 ? train(recipe, Group::alone()) : Trained{};
    recipe.data = test_world().size();
    const Trained found = train(recipe, test_world());
    if (me != 0) return;
    EXPECT_EQ(found.losses, expected.losses);
    EXPECT_EQ(found.norms, expected.norms);
    EXPECT_EQ(found.first, expected.first);
    EXPECT_EQ(found.last, expected.last);
    EXPECT_EQ(found.holdout, expected.holdout);
}

TEST_P(Bf16Axes, CheckpointsHoldTheFp32WeightsThatAreUpdated) {
    if (test_world().rank() != 0) return;
    const Trained found = train({.layout = GetParam(), .bf16 = true, .steps = 1}, Group::alone());
    const auto beyond_bf16 = [](float value) { return value != widened(rounded(value)); };
    const std::vector<float>& weights = found.last.at("layers.0.mlp.down.weight");
    EXPECT_GT(std::count_if(weights.begin(), weights.end(), beyond_bf16),
              static_cast<std::ptrdiff_t>(weights.size()) / 2);
    const std::vector<float>& gradient = found.first.at("layers.0.mlp.down.weight");
    EXPECT_GT(std::count_if(gradient.begin(), gradient.end(), beyond_bf16),
              static_cast<std::ptrdiff_t>(gradient.size()) / 2);
}

INSTANTIATE_TEST_SUITE_P(Both, Bf16Axes, ::testing::Values(ModelLayout::gpt2, ModelLayout::llama),
                         [](const auto& shape) { return shape.param == ModelLayout::gpt2 ? "gpt2" : "llama"; });

}  // namespace
}  // namespace kiban::worker
