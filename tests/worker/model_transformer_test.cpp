// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "coordinator/job/inventory.h"
#include "monitoring/error.h"
#include "tests/support/message_of.h"
#include "worker/kernels/adamw.h"
#include "worker/model/transformer.h"

namespace kiban::worker {
namespace {

using coordinator::ModelConfig;
using coordinator::ModelLayout;

constexpr std::int64_t kVocabulary = 97;
constexpr std::int64_t kTokens = 80;

ModelConfig config_of(ModelLayout layout) {
    ModelConfig config;
    config.layout = layout;
    config.layers = 2;
    config.d_model = 48;
    config.heads = 4;
    config.kv_heads = layout == ModelLayout::llama ? 2 : 0;
    return config;
}

struct Model {
    explicit Model(ModelLayout layout, LossOptions loss = {}) : Model(config_of(layout), loss) {}
    explicit Model(const ModelConfig& config, LossOptions loss = {})
        : parameters(coordinator::tensor_inventory(config, kVocabulary, kTokens)),
          transformer(config, kVocabulary, kTokens, parameters, loss) {
        parameters.initialise(11);
    }

    std::vector<float> gradients() { return {parameters.gradients(), parameters.gradients() + parameters.elements()}; }
    std::vector<float> values() { return {parameters.values(), parameters.values() + parameters.elements()}; }

    Parameters parameters;
    Transformer transformer;
};

struct Rows {
    std::vector<std::int64_t> inputs, targets;
    Batch batch() const { return {static_cast<std::int64_t>(inputs.size()) / kTokens, inputs, targets}; }
};

Rows rows_of(std::int64_t count, std::int64_t salt) {
    Rows rows;
    for (std::int64_t i = 0; i < count * kTokens; ++i) {
        rows.inputs.push_back((i * i + salt) % kVocabulary);
        rows.targets.push_back((i * i + 2 * i + 1 + salt) % kVocabulary);
    }
    return rows;
}

class TransformerOf : public testing::TestWithParam<ModelLayout> {};
INSTANTIATE_TEST_SUITE_P(Shapes, TransformerOf, testing::Values(ModelLayout::gpt2, ModelLayout::llama),
                         [](const auto& layout) { return layout.param == ModelLayout::gpt2 ? "Gpt2" : "Llama"; });

struct Trained {
    std::vector<double> losses;
    std::vector<float> values;
};

Trained train(ModelLayout layout) {
    Model model(layout);
    const auto elements = model.parameters.elements();
    std::vector<float> exp_avg(static_cast<std::size_t>(elements), 0.0F);
    std::vector<float> exp_avg_sq = exp_avg;
    AdamWStep step = {.learning_rate = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8};
    Trained trained;
    for (int i = 1; i <= 5; ++i) {
        model.parameters.zero_gradients();
        for (const std::int64_t salt : {1, 2})
            trained.losses.push_back(
                model.transformer.accumulate_gradients(rows_of(3, salt).batch(), 1.0 / (6.0 * kTokens)));
        step.bias_correction1 = 1.0 - std::pow(step.beta1, i);
        step.bias_correction2 = 1.0 - std::pow(step.beta2, i);
        adamw_update(step, elements, model.parameters.gradients(), model.parameters.values(), exp_avg.data(),
                     exp_avg_sq.data());
    }
    trained.values = model.values();
    return trained;
}

TEST_P(TransformerOf, TrainsToTheSameBitsFromRunToRun) {
    const Trained first = train(GetParam());
    for (int repetition = 0; repetition < 3; ++repetition) {
        const Trained again = train(GetParam());
        EXPECT_EQ(first.losses, again.losses);
        EXPECT_EQ(first.values, again.values);
    }
    EXPECT_LT(first.losses.back(), first.losses[1]);
}

TEST_P(TransformerOf, StartsAtTheLogarithmOfTheVocabulary) {
    Model model(GetParam());
    EXPECT_NEAR(model.transformer.loss_sum(rows_of(3, 0).batch()) / (3.0 * kTokens), std::log(kVocabulary), 0.05);
}

TEST_P(TransformerOf, GivesEvaluationTheLossOfTraining) {
    Model model(GetParam());
    const Rows rows = rows_of(3, 0);
    EXPECT_EQ(model.transformer.loss_sum(rows.batch()), model.transformer.accumulate_gradients(rows.batch(), 0.5));
}

TEST_P(TransformerOf, AddsToTheGradientsInProportionToTheScale) {
    Model model(GetParam());
    const Rows rows = rows_of(2, 5);
    model.parameters.zero_gradients();
    model.transformer.accumulate_gradients(rows.batch(), 1.0);
    const std::vector<float> once = model.gradients();
    model.transformer.accumulate_gradients(rows.batch(), 2.0);
    const std::vector<float> thrice = model.gradients();
    double largest = 0;
    double worst = 0;
    for (std::size_t i = 0; i < once.size(); ++i) {
        largest = std::max(largest, std::abs(static_cast<double>(once[i])));
        worst = std::max(worst, std::abs(static_cast<double>(thrice[i]) - 3.0 * static_cast<double>(once[i])));
    }
    EXPECT_GT(largest, 0.0);
    EXPECT_LT(worst, 1e-5 * largest);
}

TEST_P(TransformerOf, ReportsThePlainLossWhenTheGradientsHaveAZLoss) {
    Model plain(GetParam());
    Model with(GetParam(), {.z_loss = 0.1});
    const Rows rows = rows_of(2, 5);
    plain.parameters.zero_gradients();
    with.parameters.zero_gradients();
    EXPECT_EQ(plain.transformer.accumulate_gradients(rows.batch(), 1.0),
              with.transformer.accumulate_gradients(rows.batch(), 1.0));
    EXPECT_EQ(plain.transformer.loss_sum(rows.batch()), with.transformer.loss_sum(rows.batch()));
    EXPECT_NE(plain.gradients(), with.gradients());
}

TEST_P(TransformerOf, GivesRowsOfMaskedTargetsNoLossAndNoGradient) {
    Model model(GetParam());
    Rows rows = rows_of(2, 5);
    std::fill(rows.targets.begin(), rows.targets.end(), -1);
    model.parameters.zero_gradients();
    EXPECT_EQ(model.transformer.accumulate_gradients(rows.batch(), 1.0), 0.0);
    for (const float gradient : model.gradients()) ASSERT_EQ(gradient, 0.0F);
}

TEST_P(TransformerOf, DoesNotLookAhead) {
    Model model(GetParam());
    Rows rows = rows_of(1, 0);
    const std::vector<float> before = model.transformer.logits(rows.inputs, 1, kTokens);
    rows.inputs[70] = (rows.inputs[70] + 1) % kVocabulary;
    const std::vector<float> after = model.transformer.logits(rows.inputs, 1, kTokens);
    EXPECT_TRUE(std::equal(before.begin(), before.begin() + 70 * kVocabulary, after.begin()));
    EXPECT_FALSE(std::equal(before.begin() + 70 * kVocabulary, before.begin() + 71 * kVocabulary,
                            after.begin() + 70 * kVocabulary));
}

TEST_P(TransformerOf, GivesTheBeginningOfARowTheLogitsItHasInTheWholeRow) {
    Model model(GetParam());
    const Rows rows = rows_of(1, 0);
    const std::vector<float> whole = model.transformer.logits(rows.inputs, 1, kTokens);
    for (const std::int64_t tokens : {1, 17, 64}) {
        const std::vector<float> part =
            model.transformer.logits(std::span(rows.inputs).first(static_cast<std::size_t>(tokens)), 1, tokens);
        ASSERT_EQ(part.size(), static_cast<std::size_t>(tokens * kVocabulary));
        for (std::size_t i = 0; i < part.size(); ++i) ASSERT_NEAR(part[i], whole[i], 1e-5);
    }
}

// A model that attends within documents, and a row of two: 33 tokens, and the 47 others.
struct TwoDocuments {
    static constexpr std::size_t kFirst = 33;

    explicit TwoDocuments(ModelLayout layout)
        : model([&] {
              ModelConfig config = config_of(layout);
              config.attention = coordinator::AttentionScope::document;
              return config;
          }()) {
        for (std::int32_t i = 0; i < kTokens; ++i)
            positions.push_back(i < static_cast<std::int32_t>(kFirst) ? i : i - static_cast<std::int32_t>(kFirst));
    }

    std::vector<float> logits(const Rows& rows) { return model.transformer.logits(rows.inputs, 1, kTokens, positions); }

    /// The gradients of tokens [begin, end), in rows of their own or in the row of both.
    std::vector<float> gradients_of(const Rows& rows, std::size_t begin, std::size_t end) {
        std::vector<std::int32_t> places(positions.begin() + static_cast<std::ptrdiff_t>(begin),
                                         positions.begin() + static_cast<std::ptrdiff_t>(end));
        model.parameters.zero_gradients();
        model.transformer.accumulate_gradients({.rows = 1,
                                                .inputs = std::span(rows.inputs).subspan(begin, end - begin),
                                                .targets = std::span(rows.targets).subspan(begin, end - begin),
                                                .positions = places},
                                               1.0);
        return model.gradients();
    }

    Model model;
    std::vector<std::int32_t> positions;
};

TEST_P(TransformerOf, MovesNoLogitOfADocumentWhenAnotherOneOfItsRowChanges) {
    TwoDocuments two(GetParam());
    Rows rows = rows_of(1, 0);
    const std::vector<float> before = two.logits(rows);
    for (std::size_t i = 0; i < TwoDocuments::kFirst; ++i) rows.inputs[i] = (rows.inputs[i] + 5) % kVocabulary;
    const std::vector<float> after = two.logits(rows);
    const auto border = static_cast<std::ptrdiff_t>(TwoDocuments::kFirst) * kVocabulary;
    EXPECT_TRUE(std::equal(before.begin() + border, before.end(), after.begin() + border));
    EXPECT_FALSE(std::equal(before.begin(), before.begin() + border, after.begin()));
    // The same change moves the second document where rows are attended to as a whole.
    Model whole(GetParam());
    const std::vector<float> of_the_row = whole.transformer.logits(rows.inputs, 1, kTokens);
    EXPECT_FALSE(std::equal(after.begin() + border, after.end(), of_the_row.begin() + border));
}

TEST_P(TransformerOf, GivesADocumentTheLogitsItHasInARowOfItsOwn) {
    TwoDocuments two(GetParam());
    const Rows rows = rows_of(1, 0);
    const std::vector<float> both = two.logits(rows);
    const std::vector<float> alone = two.model.transformer.logits(std::span(rows.inputs).subspan(TwoDocuments::kFirst),
                                                                  1, kTokens - TwoDocuments::kFirst);
    const std::size_t border = TwoDocuments::kFirst * kVocabulary;
    ASSERT_EQ(alone.size(), both.size() - border);
    for (std::size_t i = 0; i < alone.size(); ++i) ASSERT_NEAR(both[border + i], alone[i], 1e-5) << i;
}

TEST_P(TransformerOf, GivesARowOfTwoDocumentsTheSumOfTheirGradients) {
    TwoDocuments two(GetParam());
    const Rows rows = rows_of(1, 3);
    const std::vector<float> both = two.gradients_of(rows, 0, kTokens);
    const std::vector<float> first = two.gradients_of(rows, 0, TwoDocuments::kFirst);
    const std::vector<float> second = two.gradients_of(rows, TwoDocuments::kFirst, kTokens);
    double largest = 0;
    double worst = 0;
    for (std::size_t i = 0; i < both.size(); ++i) {
        const double sum = static_cast<double>(first[i]) + static_cast<double>(second[i]);
        largest = std::max(largest, std::abs(sum));
        worst = std::max(worst, std::abs(static_cast<double>(both[i]) - sum));
    }
    EXPECT_GT(largest, 0.0);
    EXPECT_LT(worst, 1e-5 * largest);
}

TEST(Transformer, RefusesPositionsThatAreNoDocuments) {
    TwoDocuments two(ModelLayout::llama);
    const Rows rows = rows_of(1, 0);
    EXPECT_NE(
        message_of<InternalError>([&] { two.model.transformer.loss_sum(rows.batch()); }).find("80 tokens: 0 positions"),
        std::string::npos);
    two.positions[40] = 9;
    EXPECT_NE(message_of<InternalError>([&] { two.logits(rows); }).find("token 40 of the batch has position 9"),
              std::string::npos);
}

TEST_P(TransformerOf, DoesNotHideANonFiniteWeight) {
    Model model(GetParam());
    model.parameters.values()[model.parameters.entry("layers.1.mlp.down.weight").offset] =
        std::numeric_limits<float>::quiet_NaN();
    EXPECT_FALSE(std::isfinite(model.transformer.accumulate_gradients(rows_of(1, 0).batch(), 1.0)));
}

TEST_P(TransformerOf, MeasuresBothPasses) {
    Model model(GetParam());
    PassSeconds seconds;
    model.transformer.accumulate_gradients(rows_of(2, 0).batch(), 1.0, &seconds);
    EXPECT_GT(seconds.forward, 0.0);
    EXPECT_GT(seconds.backward, 0.0);
}

TEST(Transformer, RefusesTokensOutsideTheVocabularyByNumber) {
    Model model(ModelLayout::gpt2);
    Rows rows = rows_of(1, 0);
    rows.inputs[3] = kVocabulary;
    EXPECT_NE(message_of<InternalError>([&] {
                  model.transformer.loss_sum(rows.batch());
              }).find("token 3 of the batch: id 97"),
              std::string::npos);
    rows.inputs[3] = 0;
    rows.targets[3] = -2;
    EXPECT_NE(message_of<InternalError>([&] { model.transformer.loss_sum(rows.batch()); }).find("target -2"),
              std::string::npos);
}

TEST(Transformer, RefusesRowsLongerThanItsSequenceLength) {
    Model model(ModelLayout::llama);
    const std::vector<std::int64_t> inputs(kTokens + 1, 0);
    EXPECT_NE(message_of<InternalError>([&] {
                  model.transformer.logits(inputs, 1, kTokens + 1);
              }).find("rows of 81 tokens: it takes 1 to 80"),
              std::string::npos);
}

TEST(Transformer, RefusesParametersOfAnotherModel) {
    Parameters parameters(coordinator::tensor_inventory(config_of(ModelLayout::gpt2), kVocabulary, kTokens));
    const std::string message = message_of<InternalError>(
        [&] { const Transformer model(config_of(ModelLayout::gpt2), kVocabulary + 1, kTokens, parameters); });
    EXPECT_NE(message.find("'embedding.weight'"), std::string::npos);
}

}  // namespace
}  // namespace kiban::worker
