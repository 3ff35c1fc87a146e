// SPDX-License-Identifier: Apache-2.0
// The whole model in bf16 against the same model in fp32.
//
// The bound. A rounding to bf16 moves a value by at most u = 2^-8 of itself, over a binade u / sqrt(3) in the mean
// square at most, and roundings are as good as independent. A block rounds ten times on the way forward (input, weights
// and result of q,k,v; result of attention, weights of o; the same five in the feed-forward half), the head twice; the
// way back rounds as often again (gradients, and the same weights). n roundings that pass on with gain 1 make a
// relative error of u sqrt(n / 3); norms keep the gain near 1, and kGain allows for 2. For the loss n is that of the
// way forward, the error that of the logits z; the loss moves by (softmax - one_hot) . dz, with |softmax - one_hot| <=
// sqrt(2): by sqrt(2) error rms(z) in the mean over tokens.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "coordinator/job/inventory.h"
#include "worker/kernels/adamw.h"
#include "worker/model/transformer.h"

namespace kiban::worker {
namespace {

using coordinator::ActivationCheckpointing;
using coordinator::ModelConfig;
using coordinator::ModelLayout;

constexpr std::int64_t kVocabulary = 97;
constexpr std::int64_t kTokens = 80;
constexpr std::int64_t kLayers = 3;
constexpr double kUnit = 0x1p-8;
constexpr double kGain = 2;

double bound_of_gradients() { return kGain * kUnit * std::sqrt((20.0 * kLayers + 4.0) / 3.0); }
double bound_of_losses(double rms_of_logits) {
    return std::sqrt(2.0) * kUnit * std::sqrt((10.0 * kLayers + 2.0) / 3.0) * rms_of_logits;
}

ModelConfig config_of(ModelLayout layout) {
    ModelConfig config;
    config.layout = layout;
    config.layers = kLayers;
    config.d_model = 48;
    config.heads = 4;
    config.kv_heads = layout == ModelLayout::llama ? 2 : 0;
    return config;
}

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

class Model {
  public:
    Model(ModelLayout layout, Precision precision, const ModelPart& part = {}, LossOptions loss = {})
        : parameters(coordinator::tensor_inventory(config_of(layout), kVocabulary, kTokens), precision),
          transformer(config_of(layout), kVocabulary, kTokens, parameters, loss, part),
          exp_avg_(static_cast<std::size_t>(parameters.elements()), 0.0F),
          exp_avg_sq_(exp_avg_) {
        parameters.initialise(11);
    }

    /// Adds the gradients of two micro-batches; returns the mean loss.
    double accumulate() {
        parameters.zero_gradients();
        double sum = 0;
        for (const std::int64_t salt : {1, 2})
            sum += transformer.accumulate_gradients(rows_of(3, salt).batch(), 1.0 / (6.0 * kTokens));
        return sum / (6.0 * kTokens);
    }

    void update(int number) {
        AdamWStep step = {.learning_rate = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8};
        step.bias_correction1 = 1.0 - std::pow(step.beta1, number);
        step.bias_correction2 = 1.0 - std::pow(step.beta2, number);
        adamw_update(step, parameters.elements(), parameters.gradients(), parameters.values(), exp_avg_.data(),
                     exp_avg_sq_.data());
    }

    std::vector<float> gradients() { return {parameters.gradients(), parameters.gradients() + parameters.elements()}; }
    std::vector<float> values() { return {parameters.values(), parameters.values() + parameters.elements()}; }

    Parameters parameters;
    Transformer transformer;

  private:
    std::vector<float> exp_avg_, exp_avg_sq_;
};

struct Trained {
    std::vector<double> losses;
    std::vector<float> gradients;  // of the first step
    std::vector<float> values;
    double rms_of_logits = 0;  // at the end, when they are largest
};

Trained train(ModelLayout layout, Precision precision, const ModelPart& part = {}, LossOptions loss = {}) {
    Model model(layout, precision, part, loss);
    Trained trained;
    for (int step = 1; step <= 10; ++step) {
        trained.losses.push_back(model.accumulate());
        if (step == 1) trained.gradients = model.gradients();
        model.update(step);
    }
    trained.values = model.values();
    const std::vector<float> logits = model.transformer.logits(rows_of(3, 1).inputs, 3, kTokens);
    for (const float logit : logits) trained.rms_of_logits += static_cast<double>(logit) * logit;
    trained.rms_of_logits = std::sqrt(trained.rms_of_logits / static_cast<double>(logits.size()));
    return trained;
}

class Bf16Model : public testing::TestWithParam<ModelLayout> {};
INSTANTIATE_TEST_SUITE_P(Shapes, Bf16Model, testing::Values(ModelLayout::gpt2, ModelLayout::llama),
                         [](const auto& layout) { return layout.param == ModelLayout::gpt2 ? "Gpt2" : "Llama"; });

double norm(const float* x, std::int64_t count) {
    double sum = 0;
    for (std::int64_t i = 0; i < count; ++i) sum += std::pow(static_cast<double>(x[i]), 2);
    return std::sqrt(sum);
}

double distance(const float* x, const float* y, std::int64_t count) {
    double sum = 0;
    for (std::int64_t i = 0; i < count; ++i) sum += std::pow(static_cast<double>(x[i]) - y[i], 2);
    return std::sqrt(sum);
}

TEST_P(Bf16Model, HasTheLossesAndGradientsOfFp32WithinTheRoundingsOfItsDepth) {
    const Trained exact = train(GetParam(), Precision::fp32);
    const Trained found = train(GetParam(), Precision::bf16);
    double worst_loss = 0;
    for (std::size_t i = 0; i < exact.losses.size(); ++i) {
        const double error = std::abs(found.losses[i] - exact.losses[i]);
        worst_loss = std::max(worst_loss, error);
        EXPECT_LE(error, bound_of_losses(exact.rms_of_logits)) << "step " << i + 1;
    }
    EXPECT_GT(worst_loss, 1e-7) << "nothing was rounded";
    const Model model(GetParam(), Precision::fp32);
    double worst = 0;
    for (const ParameterEntry& entry : model.parameters.entries()) {
        // A bias of all keys cancels in the softmax: its gradient is 0, a sum of terms as large as those of the weight.
        std::string measure = entry.spec.name;
        if (measure.ends_with("k.bias")) measure.replace(measure.size() - 4, 4, "weight");
        const ParameterEntry& of = model.parameters.entry(measure);
        const double scale = norm(exact.gradients.data() + of.offset, of.elements());
        const double error =
            distance(found.gradients.data() + entry.offset, exact.gradients.data() + entry.offset, entry.elements()) /
            scale;
        worst = std::max(worst, error);
        EXPECT_LE(error, bound_of_gradients()) << entry.spec.name;
    }
    std::printf("worst error: losses %.2g of %.2g, gradients %.2g of %.2g\n", worst_loss,
                bound_of_losses(exact.rms_of_logits), worst, bound_of_gradients());
}

TEST_P(Bf16Model, TrainsToTheSameBitsFromRunToRun) {
    const Trained first = train(GetParam(), Precision::bf16);
    for (int repetition = 0; repetition < 2; ++repetition) {
        const Trained again = train(GetParam(), Precision::bf16);
        EXPECT_EQ(first.losses, again.losses);
        EXPECT_EQ(first.values, again.values);
    }
    EXPECT_LT(first.losses.back(), first.losses.front());
}

TEST_P(Bf16Model, RecomputingGivesTheBitsOfKeeping) {
    const Trained kept = train(GetParam(), Precision::bf16);
    for (const auto how : {ActivationCheckpointing::selective, ActivationCheckpointing::full}) {
        const Trained again = train(GetParam(), Precision::bf16, {.checkpointing = how});
        EXPECT_EQ(kept.losses, again.losses);
        EXPECT_EQ(kept.gradients, again.gradients);
        EXPECT_EQ(kept.values, again.values);
    }
}

TEST_P(Bf16Model, MultipliesWithTheNewWeightsAfterEveryChange) {
    Model trained(GetParam(), Precision::bf16);
    trained.accumulate();
    trained.update(1);
    Model fresh(GetParam(), Precision::bf16);
    const std::vector<float> values = trained.values();
    std::copy(values.begin(), values.end(), fresh.parameters.values());
    const Rows rows = rows_of(1, 3);
    EXPECT_EQ(trained.transformer.logits(rows.inputs, 1, kTokens), fresh.transformer.logits(rows.inputs, 1, kTokens));
    trained.parameters.initialise(11);
    EXPECT_EQ(trained.accumulate(), Model(GetParam(), Precision::bf16).accumulate());
}

TEST_P(Bf16Model, GivesEvaluationTheLossOfTrainingAndLogitsOfThatLoss) {
    Model model(GetParam(), Precision::bf16);
    const Rows rows = rows_of(3, 0);
    EXPECT_EQ(model.transformer.loss_sum(rows.batch()), model.transformer.accumulate_gradients(rows.batch(), 0.5));
    const std::vector<float> logits = model.transformer.logits(rows.inputs, 3, kTokens);
    double sum = 0;
    for (std::size_t row = 0; row < rows.targets.size(); ++row) {
        const float* of_row = logits.data() + row * kVocabulary;
        double exponentials = 0;
        for (std::int64_t i = 0; i < kVocabulary; ++i) exponentials += std::exp(static_cast<double>(of_row[i]));
        sum += std::log(exponentials) - static_cast<double>(of_row[rows.targets[row]]);
    }
    EXPECT_NEAR(model.transformer.loss_sum(rows.batch()), sum, 1e-5 * sum);
}

TEST_P(Bf16Model, AZLossEntersItsGradientsAlone) {
    const Trained plain = train(GetParam(), Precision::bf16);
    const Trained held = train(GetParam(), Precision::bf16, {}, {.z_loss = 0.02});
    const Trained exact = train(GetParam(), Precision::fp32, {}, {.z_loss = 0.02});
    EXPECT_EQ(plain.losses[0], held.losses[0]);
    EXPECT_NE(plain.gradients, held.gradients);
    const auto count = static_cast<std::int64_t>(exact.gradients.size());
    EXPECT_LE(distance(held.gradients.data(), exact.gradients.data(), count),
              bound_of_gradients() * norm(exact.gradients.data(), count));
}

}  // namespace
}  // namespace kiban::worker
