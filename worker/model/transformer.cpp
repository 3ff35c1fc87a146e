// SPDX-License-Identifier: Apache-2.0
#include "worker/model/transformer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "coordinator/job/inventory.h"
#include "monitoring/error.h"
#include "worker/model/block.h"
#include "worker/model/functions.h"
#include "worker/model/linear.h"

namespace kiban::worker {

using coordinator::ModelConfig;
using coordinator::ModelLayout;
using coordinator::TensorSpec;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

void check_inventory(const std::vector<TensorSpec>& expected, const Parameters& parameters) {
    const auto& entries = parameters.entries();
    KIBAN_CHECK(entries.size() == expected.size(), "build the model: its inventory has {} tensors, the parameters {}",
                expected.size(), entries.size());
    for (std::size_t i = 0; i < expected.size(); ++i)
        KIBAN_CHECK(
            entries[i].spec.name == expected[i].name && entries[i].spec.shape == expected[i].shape,
            "build the model: tensor {} of its inventory is '{}' with {} elements, of the parameters '{}' with {}", i,
            expected[i].name, expected[i].elements(), entries[i].spec.name, entries[i].spec.elements());
}

}  // namespace

struct Transformer::Impl {
    std::int64_t sequence_length = 0;
    LossOptions loss_options;
    ParameterView embedding;
    ParameterView positions;
    ParameterView head;
    NormParameters final_norm;
    std::vector<Block> blocks;
    std::vector<double> losses;  // per token of the last micro-batch

    /// The final hidden states [rows * per_row, D].
    at::Tensor hidden(const Tokens& tokens) {
        KIBAN_CHECK(tokens.per_row >= 1 && tokens.per_row <= sequence_length,
                    "run the model on rows of {} tokens: it takes 1 to {}", tokens.per_row, sequence_length);
        at::Tensor x = embed(tokens, embedding, positions);
        for (Block& block : blocks) x = block.forward(x, tokens.rows, tokens.per_row);
        return norm(x, final_norm).second;
    }

    at::Tensor loss(const Batch& batch, double scale) {
        KIBAN_CHECK(batch.rows > 0 && batch.inputs.size() == batch.targets.size(),
                    "run the model on {} rows: {} inputs, {} targets; expected as many targets as inputs", batch.rows,
                    batch.inputs.size(), batch.targets.size());
        const auto per_row = static_cast<std::int64_t>(batch.inputs.size()) / batch.rows;
        losses.assign(batch.inputs.size(), 0.0);
        return head_loss(hidden({batch.inputs, batch.rows, per_row}), head, batch.targets, scale, losses,
                         loss_options.z_loss);
    }

    double sum_of_losses() const {
        double sum = 0;
        for (const double loss : losses) sum += loss;
        return sum;
    }
};

Transformer::Transformer(const ModelConfig& config, std::int64_t vocabulary, std::int64_t sequence_length,
                         Parameters& parameters, LossOptions loss)
    : impl_(std::make_unique<Impl>()) {
    check_inventory(coordinator::tensor_inventory(config, vocabulary, sequence_length), parameters);
    const bool gpt2 = config.layout == ModelLayout::gpt2;
    const auto view = [&](const std::string& name) { return ParameterView(parameters, name, name); };
    impl_->sequence_length = sequence_length;
    impl_->loss_options = loss;
    impl_->embedding = view("embedding.weight");
    if (gpt2) impl_->positions = view("positions.weight");
    impl_->head = gpt2 ? impl_->embedding : view("head.weight");
    impl_->final_norm = norm_parameters(config, parameters, "norm");
    std::shared_ptr<const RotaryTable> rotary;
    if (!gpt2)
        rotary =
            std::make_shared<const RotaryTable>(rotary_table(sequence_length, config.head_size(), config.rope_theta));
    DenseLinearFactory linears(parameters);
    for (std::int64_t layer = 0; layer < config.layers; ++layer)
        impl_->blocks.emplace_back(config, layer, parameters, linears, rotary);
}

Transformer::~Transformer() = default;

double Transformer::accumulate_gradients(const Batch& batch, double scale, PassSeconds* seconds) {
    const Clock::time_point start = Clock::now();
    const at::Tensor loss = impl_->loss(batch, scale);
    const Clock::time_point middle = Clock::now();
    loss.backward();
    if (seconds != nullptr) *seconds = {seconds_between(start, middle), seconds_between(middle, Clock::now())};
    return impl_->sum_of_losses();
}

double Transformer::loss_sum(const Batch& batch) {
    const at::NoGradGuard no_gradients;
    impl_->loss(batch, 1.0);
    return impl_->sum_of_losses();
}

std::vector<float> Transformer::logits(std::span<const std::int64_t> inputs, std::int64_t rows,
                                       std::int64_t tokens_per_row) {
    const at::NoGradGuard no_gradients;
    const at::Tensor result = linear(impl_->hidden({inputs, rows, tokens_per_row}), impl_->head, {});
    const float* data = result.data_ptr<float>();
    return {data, data + result.numel()};
}

}  // namespace kiban::worker
