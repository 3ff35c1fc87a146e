// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/worker/random_floats.h"
#include "worker/kernels/attention.h"
#include "worker/kernels/rotary.h"

namespace kiban::worker {
namespace {

// Attention and its gradient straight from the definition, in double.
struct Definition {
    AttentionShape shape;
    std::vector<double> qkv, out, dqkv;

    std::size_t at(std::int64_t row, std::int64_t head) const {
        return static_cast<std::size_t>(row * shape.packed_width() + head * shape.head_size);
    }

    void run(const std::vector<float>& dout) {
        out.assign(static_cast<std::size_t>(shape.batch * shape.tokens * shape.out_width()), 0.0);
        dqkv.assign(qkv.size(), 0.0);
        for (std::int64_t batch = 0; batch < shape.batch; ++batch)
            for (std::int64_t head = 0; head < shape.heads; ++head)
                for (std::int64_t t = 0; t < shape.tokens; ++t) run_query(batch, head, t, dout);
    }

    void run_query(std::int64_t batch, std::int64_t head, std::int64_t t, const std::vector<float>& dout) {
        const std::int64_t kv = head / (shape.heads / shape.kv_heads);
        const std::int64_t first = batch * shape.tokens;
        const double scale = 1.0 / std::sqrt(static_cast<double>(shape.head_size));
        const std::size_t q = at(first + t, head);
        const auto size = static_cast<std::size_t>(shape.head_size);
        const auto o =
            static_cast<std::size_t>((first + t) * shape.out_width()) + static_cast<std::size_t>(head) * size;
        std::vector<double> p;
        const std::int64_t begin = shape.positions == nullptr ? 0 : t - shape.positions[first + t];
        for (std::int64_t s = begin; s <= t; ++s) {
            double score = 0;
            for (std::size_t i = 0; i < size; ++i) score += qkv[q + i] * qkv[at(first + s, shape.heads + kv) + i];
            p.push_back(score * scale);
        }
        const double most = *std::max_element(p.begin(), p.end());
        double sum = 0;
        for (double& score : p) sum += score = std::exp(score - most);
        double delta = 0;
        std::vector<double> dp(p.size(), 0.0);
        for (std::size_t s = 0; s < p.size(); ++s) {
            p[s] /= sum;
            const std::size_t v = at(first + begin + static_cast<std::int64_t>(s), shape.heads + shape.kv_heads + kv);
            for (std::size_t i = 0; i < size; ++i) {
                out[o + i] += p[s] * qkv[v + i];
                dp[s] += static_cast<double>(dout[o + i]) * qkv[v + i];
                dqkv[v + i] += p[s] * static_cast<double>(dout[o + i]);
            }
            delta += p[s] * dp[s];
        }
        for (std::size_t s = 0; s < p.size(); ++s) {
            const std::size_t k = at(first + begin + static_cast<std::int64_t>(s), shape.heads + kv);
            const double dscore = p[s] * (dp[s] - delta) * scale;
            for (std::size_t i = 0; i < size; ++i) {
                dqkv[q + i] += dscore * qkv[k + i];
                dqkv[k + i] += dscore * qkv[q + i];
            }
        }
    }
};

struct Result {
    std::vector<float> out, dqkv;
};

Result run_kernels(const AttentionShape& shape, const std::vector<float>& qkv, const std::vector<float>& dout) {
    Result result;
    result.out.assign(dout.size(), NAN);
    result.dqkv.assign(qkv.size(), NAN);  // every element must be written
    std::vector<float> logsumexp(static_cast<std::size_t>(shape.batch * shape.heads * shape.tokens));
    attention_forward(shape, qkv.data(), result.out.data(), logsumexp.data());
    attention_backward(shape, qkv.data(), result.out.data(), logsumexp.data(), dout.data(), result.dqkv.data());
    return result;
}

class Attention : public testing::TestWithParam<AttentionShape> {};

void expect_definition(const AttentionShape& shape) {
    const std::int64_t rows = shape.batch * shape.tokens;
    const std::vector<float> qkv = random_floats(rows * shape.packed_width(), "qkv", 1.5);
    const std::vector<float> dout = random_floats(rows * shape.out_width(), "dout");
    Definition definition{.shape = shape, .qkv = {qkv.begin(), qkv.end()}, .out = {}, .dqkv = {}};
    definition.run(dout);
    const Result result = run_kernels(shape, qkv, dout);
    for (std::size_t i = 0; i < dout.size(); ++i) ASSERT_NEAR(result.out[i], definition.out[i], 2e-5) << "output " << i;
    for (std::size_t i = 0; i < qkv.size(); ++i)
        ASSERT_NEAR(result.dqkv[i], definition.dqkv[i], 1e-4) << "gradient " << i;
}

TEST_P(Attention, AgreesWithItsDefinitionForwardAndBackward) { expect_definition(GetParam()); }

// Documents of 1 to a tile and a half, other ones in each row: some begin or end with a tile, some cross two.
TEST_P(Attention, WithinDocumentsAgreesWithItsDefinitionForwardAndBackward) {
    AttentionShape shape = GetParam();
    std::vector<std::int32_t> positions;
    for (std::int64_t row = 0; row < shape.batch; ++row) {
        std::int64_t left = 0;
        for (std::int64_t t = 0, document = row; t < shape.tokens; ++t, --left) {
            const bool begins = left == 0;
            if (begins) left = std::vector<std::int64_t>{3, 61, 1, 95, 64}[static_cast<std::size_t>(document++ % 5)];
            positions.push_back(begins ? 0 : positions.back() + 1);
        }
    }
    shape.positions = positions.data();
    expect_definition(shape);
}

TEST(Attention, WithinOneDocumentIsTheSameBits) {
    AttentionShape shape = {.batch = 2, .tokens = 100, .heads = 4, .kv_heads = 2, .head_size = 16};
    const std::vector<float> qkv = random_floats(200 * shape.packed_width(), "qkv");
    const std::vector<float> dout = random_floats(200 * shape.out_width(), "dout");
    const Result plain = run_kernels(shape, qkv, dout);
    std::vector<std::int32_t> positions(200);
    for (std::int32_t i = 0; i < 200; ++i) positions[static_cast<std::size_t>(i)] = i % 100;
    shape.positions = positions.data();
    const Result document = run_kernels(shape, qkv, dout);
    EXPECT_EQ(plain.out, document.out);
    EXPECT_EQ(plain.dqkv, document.dqkv);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Attention,
                         testing::Values(AttentionShape{1, 1, 1, 1, 8}, AttentionShape{2, 7, 3, 3, 5},
                                         AttentionShape{1, 64, 2, 1, 32}, AttentionShape{2, 65, 4, 2, 16},
                                         AttentionShape{1, 200, 2, 2, 64}));

TEST(Attention, GivesTheSameBitsForAnyNumberOfThreads) {
    const AttentionShape shape = {.batch = 3, .tokens = 100, .heads = 4, .kv_heads = 2, .head_size = 16};
    const std::vector<float> qkv = random_floats(300 * shape.packed_width(), "qkv");
    const std::vector<float> dout = random_floats(300 * shape.out_width(), "dout");
    std::vector<Result> results;
    for (const int threads : {1, 2, 3})
        with_threads(threads, [&] { results.push_back(run_kernels(shape, qkv, dout)); });
    EXPECT_EQ(results[0].dqkv, results[1].dqkv);
    EXPECT_EQ(results[0].dqkv, results[2].dqkv);
    EXPECT_EQ(results[0].out, results[2].out);
}

TEST(Rotary, TurnsByThePositionAndKeepsValuesAlone) {
    const RotaryTable table = rotary_table(3, 4, 10000.0);
    std::vector<float> x = {1.0F, 0.0F, 0.0F, 1.0F, 7.0F, 8.0F};  // one head at position 2, two floats that are no head
    std::vector<float> rows(12, 0.0F);
    rows.insert(rows.end(), x.begin(), x.end());
    rotate(table, Turn::forward, 3, 3, 1, 6, rows.data());
    EXPECT_NEAR(rows[12], std::cos(2.0), 1e-6);  // angle 2 * 10000^0
    EXPECT_NEAR(rows[14], std::sin(2.0), 1e-6);
    EXPECT_NEAR(rows[13], -std::sin(2.0 * 0.01), 1e-6);  // angle 2 * 10000^(-1/2)
    EXPECT_NEAR(rows[15], std::cos(2.0 * 0.01), 1e-6);
    EXPECT_EQ(rows[16], 7.0F);
    EXPECT_EQ(rows[17], 8.0F);
    rotate(table, Turn::backward, 3, 3, 1, 6, rows.data());
    for (std::size_t i = 0; i < 6; ++i) EXPECT_NEAR(rows[12 + i], x[i], 1e-6) << "the inverse turn, element " << i;
}

}  // namespace
}  // namespace kiban::worker
