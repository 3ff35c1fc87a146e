// SPDX-License-Identifier: Apache-2.0
// Each kernel over LibTorch's operations against the native one, on the same numbers. The bound is on the distance over
// the length of what the native kernel computed; both are in fp32, so it is a few roundings of 6e-8.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "tests/worker/random_floats.h"
#include "worker/kernels/activation.h"
#include "worker/kernels/aten/kernels.h"
#include "worker/kernels/cross_entropy.h"
#include "worker/kernels/embedding.h"
#include "worker/kernels/reduce.h"

namespace kiban::worker {
namespace {

using Floats = std::vector<float>;

constexpr double kElementwise = 5e-7;
constexpr double kSums = 2e-6;  // of up to a few hundred terms, in another order

template <typename Numbers>
double distance(const Numbers& found, const Numbers& expected) {
    double difference = 0;
    double length = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        difference += std::pow(static_cast<double>(found[i]) - static_cast<double>(expected[i]), 2);
        length += std::pow(static_cast<double>(expected[i]), 2);
    }
    return std::sqrt(difference / length);
}

Floats room(std::int64_t count) { return Floats(static_cast<std::size_t>(count), NAN); }

/// Runs `kernel` into two results of `count` floats.
struct Pair {
    Floats native, aten;

    template <typename Native, typename Aten>
    Pair(std::int64_t count, Native run_native, Aten run_aten) : native(room(count)), aten(room(count)) {
        run_native(native.data());
        run_aten(aten.data());
    }
    double distance() const { return worker::distance(aten, native); }
};

TEST(AtenKernels, ActivationsAreThoseOfTheNativeKernels) {
    const std::int64_t rows = 7;
    const std::int64_t hidden = 33;
    const Floats x = random_floats(rows * 2 * hidden, "x", 2.0);
    const Floats dy = random_floats(rows * 2 * hidden, "dy");
    const std::int64_t count = rows * 2 * hidden;
    EXPECT_LE(Pair(
                  count, [&](float* y) { gelu_forward(count, x.data(), y); },
                  [&](float* y) { aten::gelu_forward(count, x.data(), y); })
                  .distance(),
              kElementwise);
    EXPECT_LE(Pair(
                  count, [&](float* dx) { gelu_backward(count, x.data(), dy.data(), dx); },
                  [&](float* dx) { aten::gelu_backward(count, x.data(), dy.data(), dx); })
                  .distance(),
              kElementwise);
    EXPECT_LE(Pair(
                  rows * hidden, [&](float* y) { swiglu_forward(rows, hidden, x.data(), y); },
                  [&](float* y) { aten::swiglu_forward(rows, hidden, x.data(), y); })
                  .distance(),
              kElementwise);
    EXPECT_LE(Pair(
                  count, [&](float* dx) { swiglu_backward(rows, hidden, x.data(), dy.data(), dx); },
                  [&](float* dx) { aten::swiglu_backward(rows, hidden, x.data(), dy.data(), dx); })
                  .distance(),
              kElementwise);
}

TEST(AtenKernels, UpdatesHaveTheBitsOfTheNativeKernels) {
    const std::int64_t count = 100'003;
    const AdamWStep step = {.learning_rate = 0.01,
                            .beta1 = 0.9,
                            .beta2 = 0.95,
                            .epsilon = 1e-8,
                            .weight_decay = 0.1,
                            .gradient_scale = 0.3,
                            .bias_correction1 = 0.19,
                            .bias_correction2 = 0.0975};
    const Floats gradient = random_floats(count, "gradient");
    Floats values[2] = {random_floats(count, "value"), random_floats(count, "value")};
    Floats averages[2] = {random_floats(count, "m"), random_floats(count, "m")};
    Floats squares[2] = {random_floats(count, "v"), {}};
    for (float& square : squares[0]) square = std::abs(square);
    squares[1] = squares[0];
    adamw_update(step, count, gradient.data(), values[0].data(), averages[0].data(), squares[0].data());
    aten::adamw_update(step, count, gradient.data(), values[1].data(), averages[1].data(), squares[1].data());
    EXPECT_EQ(values[1], values[0]);
    EXPECT_EQ(averages[1], averages[0]);
    EXPECT_EQ(squares[1], squares[0]);

    const MuonStep muon = {.learning_rate = 0.02, .momentum = 0.95, .weight_decay = 0.1, .gradient_scale = 0.3};
    Floats updates[2] = {gradient, gradient};  // where the gradient stands
    muon_momentum(muon, count, updates[0].data(), averages[0].data(), updates[0].data());
    aten::muon_momentum(muon, count, updates[1].data(), averages[1].data(), updates[1].data());
    EXPECT_EQ(updates[1], updates[0]);
    EXPECT_EQ(averages[1], averages[0]);
    muon_apply(muon, 1.7, count, updates[0].data(), values[0].data());
    aten::muon_apply(muon, 1.7, count, updates[1].data(), values[1].data());
    EXPECT_EQ(values[1], values[0]);
}

TEST(AtenKernels, OrthogonalisationIsThatOfTheNativeKernel) {
    for (const auto& [rows, cols] : {std::pair<std::int64_t, std::int64_t>{24, 24}, {16, 40}, {40, 16}}) {
        Floats native = random_floats(rows * cols, "matrix");
        Floats found = native;
        std::vector<float> work;
        orthogonalise(rows, cols, native.data(), work);
        aten::orthogonalise(rows, cols, found.data());
        EXPECT_LE(distance(found, native), 1e-5) << rows << " x " << cols;  // five steps, each a product of products
    }
}

TEST(AtenKernels, SumsOfSquaresDependOnTheirBlockAlone) {
    const std::int64_t count = 3 * 1024 + 77;
    const Floats x = random_floats(count, "x");
    std::vector<double> native(4);
    std::vector<double> found(4);
    block_sums_of_squares(x.data(), count, 1024, native.data());
    aten::block_sums_of_squares(x.data(), count, 1024, found.data());
    EXPECT_LE(distance(found, native), 1e-14);
    for (std::size_t i = 0; i < 4; ++i) {  // one block alone, elsewhere in memory
        const auto begin = x.begin() + static_cast<std::ptrdiff_t>(i) * 1024;
        const Floats block(begin, i < 3 ? begin + 1024 : x.end());
        double alone = 0;
        with_threads(3, [&] {
            aten::block_sums_of_squares(block.data(), static_cast<std::int64_t>(block.size()), 1024, &alone);
        });
        EXPECT_EQ(alone, found[i]) << i;
    }
    EXPECT_NEAR(aten::sum_of_squares(x.data(), count), sum_of_squares(x.data(), count), 1e-9);
}

TEST(AtenKernels, AttentionIsThatOfTheNativeKernel) {
    std::vector<std::int32_t> positions;  // documents of 31 tokens, cut where a row ends
    for (std::int32_t i = 0; i < 140; ++i) positions.push_back(i % 70 % 31);
    for (const AttentionShape& shape : {AttentionShape{2, 70, 4, 4, 8}, AttentionShape{1, 33, 6, 2, 16},
                                        AttentionShape{2, 70, 4, 2, 8, positions.data()}}) {
        const std::int64_t rows = shape.batch * shape.tokens;
        const Floats qkv = random_floats(rows * shape.packed_width(), "qkv");
        const Floats dout = random_floats(rows * shape.out_width(), "dout");
        Floats sums[2] = {room(rows * shape.heads), room(rows * shape.heads)};
        const Pair out(
            rows * shape.out_width(), [&](float* y) { attention_forward(shape, qkv.data(), y, sums[0].data()); },
            [&](float* y) { aten::attention_forward(shape, qkv.data(), y, sums[1].data()); });
        EXPECT_LE(out.distance(), kSums);
        EXPECT_LE(distance(sums[1], sums[0]), kSums);
        const Floats& forward = out.native;
        const Pair gradient(
            rows * shape.packed_width(),
            [&](float* d) { attention_backward(shape, qkv.data(), forward.data(), sums[0].data(), dout.data(), d); },
            [&](float* d) {
                aten::attention_backward(shape, qkv.data(), forward.data(), sums[0].data(), dout.data(), d);
            });
        EXPECT_LE(gradient.distance(), kSums);
    }
}

TEST(AtenKernels, CrossEntropyIsThatOfTheNativeKernel) {
    const std::int64_t vocabulary = 301;
    const std::vector<std::int64_t> targets = {3, -1, 300, 0, 17};
    const Floats logits = random_floats(vocabulary * 5, "logits", 4.0);
    std::vector<double> losses[3] = {std::vector<double>(5), std::vector<double>(5), std::vector<double>(5)};
    Floats native = logits;
    Floats found = logits;
    for (std::int64_t i = 0; i < vocabulary; ++i) found[static_cast<std::size_t>(vocabulary + i)] = NAN;  // masked
    cross_entropy_with_gradient(vocabulary, 0.25F, native.data(), targets, losses[0], 1e-3);
    aten::cross_entropy_with_gradient(vocabulary, 0.25F, found.data(), targets, losses[1], 1e-3);
    EXPECT_LE(distance(found, native), kElementwise);
    EXPECT_LE(distance(losses[1], losses[0]), 1e-7);
    EXPECT_EQ(losses[1][1], 0.0);
    aten::cross_entropy(vocabulary, logits.data(), targets, losses[2]);
    EXPECT_LE(distance(losses[2], losses[0]), 1e-7);
    const Floats few = {1, 3, 2, 5, 5, 4, 9, 0, 0, 0, 0, 7};
    std::vector<double> of_few(4);
    EXPECT_EQ(aten::cross_entropy(3, few.data(), std::vector<std::int64_t>{1, 0, 2, 2}, of_few), 3);
    EXPECT_EQ(aten::cross_entropy(3, few.data(), std::vector<std::int64_t>{-1, 1, -1, 0}, of_few), 1);
}

TEST(AtenKernels, CrossEntropyOfLogitsThatAreNotFiniteIsNaN) {
    for (const float bad : {NAN, INFINITY}) {
        const Floats logits = {0.5F, bad, 1.0F};
        std::vector<double> losses(1);
        aten::cross_entropy(3, logits.data(), std::vector<std::int64_t>{0}, losses);
        EXPECT_TRUE(std::isnan(losses[0])) << bad;
    }
}

TEST(AtenKernels, EmbeddingsAreThoseOfTheNativeKernels) {
    const std::int64_t width = 19;
    const std::vector<std::int64_t> tokens = {4, 0, 4, 2, 4};
    const Floats table = random_floats(6 * width, "table");
    const Floats positions = random_floats(3 * width, "positions");
    const Floats dx = random_floats(5 * width, "dx");
    const Pair forward(
        5 * width, [&](float* x) { embedding_forward(tokens, 1, 3, width, table.data(), positions.data(), x); },
        [&](float* x) { aten::embedding_forward(tokens, 1, 3, width, table.data(), positions.data(), x); });
    EXPECT_EQ(forward.aten, forward.native);
    for (const float beta : {0.0F, 1.0F}) {
        Floats sums[4] = {table, table, positions, positions};
        embedding_backward(tokens, 6, width, dx.data(), {sums[0].data(), beta});
        aten::embedding_backward(tokens, 6, width, dx.data(), {sums[1].data(), beta});
        EXPECT_LE(distance(sums[1], sums[0]), kElementwise) << beta;
        positions_backward(1, 5, 3, 3, width, dx.data(), {sums[2].data(), beta});
        aten::positions_backward(1, 5, 3, 3, width, dx.data(), {sums[3].data(), beta});
        EXPECT_LE(distance(sums[3], sums[2]), kElementwise) << beta;
    }
}

TEST(AtenKernels, LinearLayersAreThoseOfTheNativeKernels) {
    const LinearShape shape = {.rows = 21, .in = 48, .out = 37};
    const Floats x = random_floats(21 * 48, "x");
    const Floats weight = random_floats(37 * 48, "weight");
    const Floats bias = random_floats(37, "bias");
    const Floats residual = random_floats(21 * 37, "residual");
    for (const float* with_bias : {static_cast<const float*>(nullptr), bias.data()}) {
        for (const float* with_residual : {static_cast<const float*>(nullptr), residual.data()}) {
            const Pair forward(
                21 * 37, [&](float* y) { linear_forward(shape, x.data(), weight.data(), with_bias, with_residual, y); },
                [&](float* y) { aten::linear_forward(shape, x.data(), weight.data(), with_bias, with_residual, y); });
            EXPECT_LE(forward.distance(), kSums);
        }
    }
    EXPECT_LE(Pair(
                  21 * 48, [&](float* dx) { linear_backward_input(shape, residual.data(), weight.data(), dx); },
                  [&](float* dx) { aten::linear_backward_input(shape, residual.data(), weight.data(), dx); })
                  .distance(),
              kSums);
    for (const float beta : {0.0F, 1.0F}) {
        const float old = beta == 0.0F ? NAN : 0.5F;  // not read with beta 0
        Floats weights[2] = {Floats(37 * 48, old), Floats(37 * 48, old)};
        Floats biases[2] = {Floats(37, old), Floats(37, old)};
        linear_backward_weight(shape, x.data(), residual.data(), {weights[0].data(), beta}, {biases[0].data(), beta});
        aten::linear_backward_weight(shape, x.data(), residual.data(), {weights[1].data(), beta},
                                     {biases[1].data(), beta});
        EXPECT_LE(distance(weights[1], weights[0]), kSums) << beta;
        EXPECT_LE(distance(biases[1], biases[0]), kSums) << beta;
    }
}

TEST(AtenKernels, NormsAreThoseOfTheNativeKernels) {
    for (const bool centred : {true, false}) {
        const NormShape shape = {.rows = 70, .width = 45, .centred = centred, .epsilon = 1e-5F};
        const Floats x = random_floats(70 * 45, "x");
        const Floats weight = random_floats(45, "weight");
        const Floats bias = random_floats(45, "bias");
        const Floats dy = random_floats(70 * 45, "dy");
        const Floats passing = random_floats(70 * 45, "passing");
        Floats statistics[2] = {room(140), room(140)};
        const Pair forward(
            70 * 45,
            [&](float* y) { norm_forward(shape, x.data(), weight.data(), bias.data(), y, statistics[0].data()); },
            [&](float* y) {
                aten::norm_forward(shape, x.data(), weight.data(), bias.data(), y, statistics[1].data());
            });
        EXPECT_LE(forward.distance(), kSums);
        EXPECT_LE(distance(statistics[1], statistics[0]), kSums);
        for (const float* besides : {static_cast<const float*>(nullptr), passing.data()}) {
            Floats weights[2] = {room(45), room(45)};
            Floats biases[2] = {room(45), room(45)};
            const Pair backward(
                70 * 45,
                [&](float* dx) {
                    norm_backward(shape, x.data(), weight.data(), statistics[0].data(), dy.data(), besides, dx,
                                  {weights[0].data(), 0.0F}, {centred ? biases[0].data() : nullptr, 0.0F});
                },
                [&](float* dx) {
                    aten::norm_backward(shape, x.data(), weight.data(), statistics[0].data(), dy.data(), besides, dx,
                                        {weights[1].data(), 0.0F}, {centred ? biases[1].data() : nullptr, 0.0F});
                });
            EXPECT_LE(backward.distance(), kSums);
            EXPECT_LE(distance(weights[1], weights[0]), kSums);
            if (centred) {
                EXPECT_LE(distance(biases[1], biases[0]), kSums);
            }
        }
    }
}

TEST(AtenKernels, RotationIsThatOfTheNativeKernelAndItsInverse) {
    const RotaryTable table = rotary_table(5, 8, 10000.0);
    const Floats x = random_floats(10 * 40, "x");
    Floats native = x;
    Floats found = x;
    rotate(table, Turn::forward, 10, 5, 3, 40, native.data());
    aten::rotate(table, Turn::forward, 10, 5, 3, 40, found.data());
    EXPECT_LE(distance(found, native), kElementwise);
    aten::rotate(table, Turn::backward, 10, 5, 3, 40, found.data());
    EXPECT_LE(distance(found, x), kElementwise);
}

}  // namespace
}  // namespace kiban::worker
