// SPDX-License-Identifier: Apache-2.0
// What an observer says of a small model, against a computation of its own from the weights, in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "coordinator/job/inventory.h"
#include "worker/model/activation_observer.h"
#include "worker/model/transformer.h"

namespace kiban::worker {
namespace {

using coordinator::ModelConfig;
using coordinator::ModelLayout;
using Matrix = std::vector<std::vector<double>>;  // rows

constexpr std::int64_t kVocabulary = 97;
constexpr std::int64_t kTokens = 80;
constexpr std::int64_t kWidth = 48;
constexpr std::int64_t kHeads = 4;
constexpr std::int64_t kHeadSize = kWidth / kHeads;

ModelConfig config_of(ModelLayout layout) {
    ModelConfig config;
    config.layout = layout;
    config.layers = 2;
    config.d_model = kWidth;
    config.heads = kHeads;
    config.kv_heads = layout == ModelLayout::llama ? 2 : 0;
    return config;
}

struct Rows {
    std::vector<std::int64_t> inputs, targets;
    Batch batch() const { return {static_cast<std::int64_t>(inputs.size()) / kTokens, inputs, targets}; }
};

Rows rows_of(std::int64_t count) {
    Rows rows;
    for (std::int64_t i = 0; i < count * kTokens; ++i) {
        rows.inputs.push_back((i * i + 3) % kVocabulary);
        rows.targets.push_back((i * i + 2 * i + 4) % kVocabulary);
    }
    return rows;
}

class ObserverOf : public testing::TestWithParam<ModelLayout> {
  protected:
    ObserverOf()
        : config_(config_of(GetParam())),
          parameters_(coordinator::tensor_inventory(config_, kVocabulary, kTokens)),
          model_(config_, kVocabulary, kTokens, parameters_) {
        parameters_.initialise(11);
        float* values = parameters_.values();
        for (std::int64_t i = 0; i < parameters_.elements(); ++i)  // larger, and no bias zero
            values[i] = 2 * values[i] + 0.01F * static_cast<float>(i % 7 - 3);
        parameters_.values_changed();
    }

    Observed observe(const Rows& rows) {
        ActivationObserver observer(config_.layers, kWidth, true);
        model_.evaluate(rows.batch(), {}, &observer);
        return observer.seen();
    }

    // After so many blocks; 0: the embedded tokens.
    Matrix activations(const Rows& rows, std::int64_t blocks) {
        Transformer part(config_, kVocabulary, kTokens, parameters_, {}, {.end_layer = blocks, .scores = false});
        const auto pass = part.evaluate(rows.batch());
        const auto output = pass->output();
        Matrix x;
        for (std::size_t at = 0; at < output.size(); at += kWidth)
            x.emplace_back(output.begin() + static_cast<std::ptrdiff_t>(at),
                           output.begin() + static_cast<std::ptrdiff_t>(at + kWidth));
        return x;
    }

    const float* weights(const std::string& name) { return parameters_.values_of(parameters_.index(name)); }
    bool gpt2() const { return GetParam() == ModelLayout::gpt2; }

    std::vector<double> normed(const std::vector<double>& x, const std::string& name) {
        double mean = 0;
        if (gpt2())
            for (const double value : x) mean += value / kWidth;
        double variance = 0;
        for (const double value : x) variance += (value - mean) * (value - mean) / kWidth;
        std::vector<double> y;
        for (std::size_t i = 0; i < x.size(); ++i) {
            y.push_back((x[i] - mean) / std::sqrt(variance + config_.norm_epsilon) * weights(name + ".weight")[i]);
            if (gpt2()) y.back() += weights(name + ".bias")[i];
        }
        return y;
    }

    // Head `head` of x times the matrix, turned where the layout does so.
    std::vector<double> projected(const std::vector<double>& x, const std::string& name, std::int64_t head,
                                  std::int64_t position) {
        const float* weight = weights(name + ".weight");
        const float* bias = gpt2() ? weights(name + ".bias") : nullptr;
        std::vector<double> y;
        for (std::int64_t out = head * kHeadSize; out < (head + 1) * kHeadSize; ++out) {
            y.push_back(gpt2() ? bias[out] : 0.0);
            for (std::int64_t in = 0; in < kWidth; ++in)
                y.back() += weight[out * kWidth + in] * x[static_cast<std::size_t>(in)];
        }
        if (gpt2()) return y;
        constexpr std::size_t kHalf = kHeadSize / 2;
        for (std::size_t i = 0; i < kHalf; ++i) {
            const double angle =
                static_cast<double>(position) * std::pow(config_.rope_theta, -2.0 * static_cast<double>(i) / kHeadSize);
            const double a = y[i];
            const double b = y[i + kHalf];
            y[i] = a * std::cos(angle) - b * std::sin(angle);
            y[i + kHalf] = b * std::cos(angle) + a * std::sin(angle);
        }
        return y;
    }

    ModelConfig config_;
    Parameters parameters_;
    Transformer model_;
};
INSTANTIATE_TEST_SUITE_P(Shapes, ObserverOf, testing::Values(ModelLayout::gpt2, ModelLayout::llama),
                         [](const auto& layout) { return layout.param == ModelLayout::gpt2 ? "Gpt2" : "Llama"; });

TEST_P(ObserverOf, ChangesNoBitOfTheLoss) {
    const Rows rows = rows_of(3);
    ActivationObserver observer(config_.layers, kWidth, true);
    EXPECT_EQ(model_.evaluate(rows.batch(), {}, &observer)->loss_sum(), model_.evaluate(rows.batch())->loss_sum());
}

TEST_P(ObserverOf, SeesWhatTheBlocksPutOut) {
    const Rows rows = rows_of(3);
    const Observed seen = observe(rows);
    for (std::int64_t layer = 0; layer < config_.layers; ++layer) {
        const Matrix x = activations(rows, layer + 1);
        const auto count = static_cast<double>(x.size());
        double mean = 0;
        double squares = 0;
        double largest = 0;
        for (const auto& row : x) {
            for (const double value : row) {
                mean += value / (count * kWidth);
                squares += value * value / (count * kWidth);
                largest = std::max(largest, std::abs(value));
            }
        }
        double second = 0;
        double fourth = 0;
        for (const auto& row : x) {
            for (const double value : row) {
                second += std::pow(value - mean, 2) / (count * kWidth);
                fourth += std::pow(value - mean, 4) / (count * kWidth);
            }
        }
        double cosines = 0;
        const auto dot = [](const auto& a, const auto& b) {
            double sum = 0;
            for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
            return sum;
        };
        for (std::size_t a = 0; a < x.size(); ++a)
            for (std::size_t b = 0; b < a; ++b)
                cosines += dot(x[a], x[b]) / std::sqrt(dot(x[a], x[a]) * dot(x[b], x[b]));
        const ObservedLayer& found = seen.layers[static_cast<std::size_t>(layer)];
        EXPECT_NEAR(found.moments.rms(), std::sqrt(squares), 1e-5 * std::sqrt(squares));
        EXPECT_EQ(found.moments.largest, largest);
        EXPECT_NEAR(found.moments.kurtosis(), fourth / (second * second), 1e-5 * fourth / (second * second));
        EXPECT_NEAR(mean_cosine(found.moments.directions, found.direction.data(), kWidth),
                    cosines / (count * (count - 1) / 2), 1e-6);
    }
}

TEST_P(ObserverOf, SeesHowTheSampledQueriesAttend) {
    const Rows rows = rows_of(2);
    const Observed seen = observe(rows);
    const std::int64_t kv_heads = config_.resolved_kv_heads();
    for (std::int64_t layer = 0; layer < config_.layers; ++layer) {
        const std::string name = "layers." + std::to_string(layer);
        Matrix x = activations(rows, layer);
        for (auto& row : x) row = normed(row, name + ".attention_norm");
        double entropy = 0;
        double queries = 0;
        double largest = -1e30;
        for (std::int64_t row = 0; row < 2; ++row) {
            for (std::int64_t head = 0; head < kHeads; ++head) {
                for (std::int64_t query = 4; query < kTokens; query += 5) {  // sixteen of eighty, the last one too
                    const auto of = [&](std::int64_t token) {
                        return x[static_cast<std::size_t>(row * kTokens + token)];
                    };
                    const auto q = projected(of(query), name + ".attention.q", head, query);
                    std::vector<double> scores;
                    for (std::int64_t key = 0; key <= query; ++key) {
                        const auto k = projected(of(key), name + ".attention.k", head / (kHeads / kv_heads), key);
                        scores.push_back(0);
                        for (std::size_t i = 0; i < q.size(); ++i) scores.back() += q[i] * k[i] / std::sqrt(kHeadSize);
                    }
                    double sum = 0;
                    for (const double score : scores) sum += std::exp(score);
                    for (const double score : scores) entropy -= std::exp(score) / sum * (score - std::log(sum));
                    largest = std::max(largest, *std::max_element(scores.begin(), scores.end()));
                    ++queries;
                }
            }
        }
        const AttentionSums& found = seen.layers[static_cast<std::size_t>(layer)].attention;
        EXPECT_EQ(found.queries, queries);
        EXPECT_NEAR(found.entropy_nats / queries, entropy / queries, 1e-4);
        EXPECT_NEAR(found.largest, largest, 1e-3 * std::abs(largest));
    }
}

TEST_P(ObserverOf, SeesTheLogitsOfSampledTokensAndTheEmbedding) {
    const Rows rows = rows_of(3);
    const Observed seen = observe(rows);
    const std::vector<float> logits = model_.logits(rows.inputs, 3, kTokens);
    double largest = 0;
    double tokens = 0;
    for (std::int64_t token = 0; token < 3 * kTokens; token += 4) {  // 60 of 240
        ++tokens;
        for (std::int64_t i = 0; i < kVocabulary; ++i)
            largest = std::max(
                largest, std::abs(static_cast<double>(logits[static_cast<std::size_t>(token * kVocabulary + i)])));
    }
    EXPECT_EQ(seen.logits, tokens * kVocabulary);
    EXPECT_NEAR(seen.largest_logit, largest, 1e-5 * largest);
    const EmbeddingGeometry expected = embedding_geometry(kVocabulary, kWidth, weights("embedding.weight"));
    ASSERT_TRUE(seen.embedding.has_value());
    EXPECT_EQ(seen.embedding->effective_rank, expected.effective_rank);
    EXPECT_EQ(seen.embedding->uniformity, expected.uniformity);
    EXPECT_GT(expected.effective_rank, 30) << "random rows use nearly all dimensions";
}

TEST_P(ObserverOf, DoesNotLookAtTheRowsThatFillUpTheMicroBatch) {
    Rows filled = rows_of(3);
    std::fill(filled.targets.begin() + 2 * kTokens, filled.targets.end(), -1);
    filled.targets[2 * kTokens - 1] = -1;  // a masked target of a row that counts
    const Observed seen = observe(filled);
    const Observed expected = observe(rows_of(2));
    for (std::size_t layer = 0; layer < 2; ++layer) {
        EXPECT_EQ(seen.layers[layer].moments.count, 2.0 * kTokens * kWidth);
        EXPECT_NEAR(seen.layers[layer].moments.squares, expected.layers[layer].moments.squares,
                    1e-5 * expected.layers[layer].moments.squares);
        EXPECT_EQ(seen.layers[layer].attention.queries, expected.layers[layer].attention.queries);
    }
    EXPECT_EQ(seen.logits, expected.logits);
    Rows nothing = rows_of(1);
    std::fill(nothing.targets.begin(), nothing.targets.end(), -1);
    EXPECT_EQ(observe(nothing).layers[0].moments.count, 0);
    EXPECT_EQ(observe(nothing).logits, 0);
}

}  // namespace
}  // namespace kiban::worker
