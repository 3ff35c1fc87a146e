// SPDX-License-Identifier: Apache-2.0
#include "worker/model/transformer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "checkpoint/placement.h"
#include "coordinator/job/inventory.h"
#include "monitoring/error.h"
#include "worker/device/memory.h"
#include "worker/device/tensors.h"
#include "worker/model/activation_observer.h"
#include "worker/model/block.h"
#include "worker/model/functions.h"

namespace kiban::worker {

using coordinator::ActivationCheckpointing;
using coordinator::ModelConfig;
using coordinator::ModelLayout;
using coordinator::TensorSpec;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

std::span<const float> floats_of(const at::Tensor& x) {
    return {x.data_ptr<float>(), static_cast<std::size_t>(x.numel())};
}

at::Tensor tensor_of(std::span<const float> values, std::int64_t width) {
    const auto count = static_cast<std::int64_t>(values.size());
    at::Tensor x = at::empty({count / width, width}, float_options());
    copy_floats(values.data(), count, x.data_ptr<float>());
    return x;
}

// Every tensor that is here is one of the model's; that none is missing is seen where it is looked up.
void check_inventory(const std::vector<TensorSpec>& expected, const Parameters& parameters) {
    for (const ParameterEntry& entry : parameters.entries()) {
        const auto found = std::find_if(expected.begin(), expected.end(),
                                        [&](const TensorSpec& spec) { return spec.name == entry.spec.name; });
        KIBAN_CHECK(found != expected.end(), "build the model: it has no tensor '{}', the parameters do",
                    entry.spec.name);
        KIBAN_CHECK(found->shape == entry.spec.shape,
                    "build the model: tensor '{}' has {} elements in it, {} in the parameters", entry.spec.name,
                    found->elements(), entry.spec.elements());
    }
}

// Each token follows the one before it in its document, or begins one.
void check_positions(std::span<const std::int32_t> positions, std::size_t tokens, std::int64_t per_row) {
    KIBAN_CHECK(positions.size() == tokens, "run a model that attends within documents on {} tokens: {} positions",
                tokens, positions.size());
    for (std::size_t i = 0; i < tokens; ++i) {
        const bool first_of_row = i % static_cast<std::size_t>(per_row) == 0;
        KIBAN_CHECK(positions[i] == 0 || (!first_of_row && positions[i] == positions[i - 1] + 1),
                    "run the model: token {} of the batch has position {} in its document, the one before it {}", i,
                    positions[i], first_of_row ? -1 : positions[i - 1]);
    }
}

// What one step of the network uses, told to whoever keeps the parameters.
struct Uses {
    std::vector<int> forward;
    std::vector<int> backward;  // values that its backward pass reads
    std::vector<int> complete;  // gradients that nothing adds to after its backward pass
};

}  // namespace

struct MicroBatchPass::Impl {
    at::Tensor input;
    at::Tensor output;  // activations, or the loss
    bool embeds = false;
    bool scores = false;
    std::vector<double> losses;      // per token
    std::int64_t first_choices = 0;  // where nothing is kept
    std::vector<int> embedding_buckets;
    BucketHooks* hooks = nullptr;
};

struct Transformer::Impl {
    ModelConfig config;
    ModelPart part;
    LossOptions loss_options;
    std::int64_t sequence_length = 0;
    ParameterView embedding;
    ParameterView positions;
    ParameterView head;
    NormParameters final_norm;
    std::vector<Block> blocks;
    std::vector<Uses> block_uses;
    Uses head_uses;
    std::vector<int> embedding_buckets;

    checkpoint::Part tokens_of(std::int64_t rows, std::int64_t per_row) const {
        return checkpoint::part_of(rows * per_row, part.token_part, part.token_parts);
    }

    template <typename Run>
    at::Tensor through(const Uses& uses, const at::Tensor& x, Run run) {
        if (part.hooks == nullptr) return run(x);
        BucketHooks* hooks = part.hooks;
        for (const int bucket : uses.forward) hooks->before_forward(bucket);
        const bool differentiate = at::GradMode::is_enabled();
        const auto tell = [hooks](std::vector<int> buckets, void (BucketHooks::*call)(int)) {
            return [hooks, buckets = std::move(buckets), call] {
                for (const int bucket : buckets) (hooks->*call)(bucket);
            };
        };
        at::Tensor y = run(differentiate ? on_backward(x, tell(uses.complete, &BucketHooks::after_backward)) : x);
        if (differentiate && !uses.backward.empty())
            y = on_backward(y, tell(uses.backward, &BucketHooks::before_backward));
        for (const int bucket : uses.forward) hooks->after_forward(bucket);
        return y;
    }

    at::Tensor embed_tokens(std::span<const std::int64_t> ids, std::int64_t rows, std::int64_t per_row,
                            std::span<const std::int32_t> in_document, ActivationObserver* observer = nullptr) {
        for (const int bucket : embedding_buckets) tell_forward(bucket, true);
        const checkpoint::Part here = tokens_of(rows, per_row);
        const auto begin = static_cast<std::size_t>(here.begin);
        const auto count = static_cast<std::size_t>(here.size());
        at::Tensor x = embed({.ids = ids.subspan(begin, count),
                              .first = here.begin,
                              .per_row = per_row,
                              .positions = in_document.empty() ? in_document : in_document.subspan(begin, count)},
                             embedding, positions);
        if (observer != nullptr) observer->embedding(embedding.data(), embedding.size(0));
        for (const int bucket : embedding_buckets) tell_forward(bucket, false);
        return x;
    }

    /// Those that this model attends by: none where a row is one document.
    std::span<const std::int32_t> positions_of(std::span<const std::int32_t> given, std::size_t tokens,
                                               std::int64_t per_row) const {
        if (config.attention == coordinator::AttentionScope::row) return {};
        check_positions(given, tokens, per_row);
        return given;
    }

    void tell_forward(int bucket, bool before) const {
        if (part.hooks == nullptr) return;
        before ? part.hooks->before_forward(bucket) : part.hooks->after_forward(bucket);
    }

    /// x after the blocks that are here.
    at::Tensor run_blocks(at::Tensor x, std::int64_t rows, std::int64_t per_row,
                          std::span<const std::int32_t> in_document, ActivationObserver* observer = nullptr) {
        KIBAN_CHECK(per_row >= 1 && per_row <= sequence_length, "run the model on rows of {} tokens: it takes 1 to {}",
                    per_row, sequence_length);
        for (std::size_t i = 0; i < blocks.size(); ++i) {
            Block& block = blocks[i];
            const auto run = [&block, rows, per_row, places = in_document.empty() ? nullptr : in_document.data(),
                              observer](const at::Tensor& in) {
                return block.forward(in, rows, per_row, places, observer);
            };
            x = through(block_uses[i], x, [&](const at::Tensor& in) {
                return part.checkpointing == ActivationCheckpointing::full ? recompute(in, run) : run(in);
            });
            if (observer != nullptr)
                observer->block_output(part.first_layer + static_cast<std::int64_t>(i), tokens_of(rows, per_row).begin,
                                       x);
        }
        return x;
    }

    at::Tensor loss(const at::Tensor& x, const Batch& batch, std::int64_t per_row, double scale,
                    MicroBatchPass::Impl& pass, ActivationObserver* observer) {
        const checkpoint::Part here = tokens_of(batch.rows, per_row);
        pass.losses.assign(static_cast<std::size_t>(here.size()), 0.0);
        const auto targets =
            batch.targets.subspan(static_cast<std::size_t>(here.begin), static_cast<std::size_t>(here.size()));
        return through(head_uses, x, [&](const at::Tensor& in) {
            const at::Tensor normed = norm(in, final_norm).second;
            if (observer != nullptr) show_logits(*observer, normed, here);
            return head_loss(normed, head, targets, scale, pass.losses, loss_options.z_loss, &pass.first_choices);
        });
    }

    void show_logits(ActivationObserver& observer, const at::Tensor& normed, const checkpoint::Part& here) const {
        const std::vector<std::int64_t> sampled = observer.sampled_tokens(here.begin, here.size());
        if (sampled.empty()) return;
        observer.logits(linear(normed.index_select(0, on_device(sampled)), head, {}));
    }

    std::unique_ptr<MicroBatchPass::Impl> pass(const Batch& batch, double scale, std::span<const float> input,
                                               ActivationObserver* observer) {
        KIBAN_CHECK(batch.rows > 0 && batch.inputs.size() == batch.targets.size(),
                    "run the model on {} rows: {} inputs, {} targets; expected as many targets as inputs", batch.rows,
                    batch.inputs.size(), batch.targets.size());
        const auto per_row = static_cast<std::int64_t>(batch.inputs.size()) / batch.rows;
        const auto in_document = positions_of(batch.positions, batch.inputs.size(), per_row);
        auto pass = std::make_unique<MicroBatchPass::Impl>();
        pass->embeds = part.embeds;
        pass->scores = part.scores;
        pass->hooks = part.hooks;
        pass->embedding_buckets = embedding_buckets;
        if (observer != nullptr) observer->begin(batch.rows, batch.targets);
        at::Tensor x;
        if (part.embeds) {
            x = embed_tokens(batch.inputs, batch.rows, per_row, in_document, observer);
        } else {
            const auto expected = static_cast<std::size_t>(tokens_of(batch.rows, per_row).size() * config.d_model);
            KIBAN_CHECK(input.size() == expected, "run a part of the model on {} activations: expected {}",
                        input.size(), expected);
            pass->input = tensor_of(input, config.d_model).requires_grad_(at::GradMode::is_enabled());
            x = pass->input;
        }
        x = run_blocks(x, batch.rows, per_row, in_document, observer);
        pass->output = part.scores ? loss(x, batch, per_row, scale, *pass, observer) : x;
        return pass;
    }

    void note_buckets(Parameters& parameters) {
        const auto bucket = [&](const std::string& name) { return parameters.entry(name).bucket; };
        if (part.embeds) {
            embedding_buckets = {bucket("embedding.weight")};
            if (positions.defined()) embedding_buckets.push_back(bucket("positions.weight"));
        }
        for (std::int64_t layer = part.first_layer; layer < part.end_layer; ++layer) {
            const int number = bucket(fmt::format("layers.{}.attention_norm.weight", layer));
            block_uses.push_back({.forward = {number}, .backward = {number}, .complete = {number}});
        }
        if (!part.scores) return;
        // The head's gradients are computed in its forward pass, the norm's in the backward pass.
        const bool tied = config.layout == ModelLayout::gpt2;
        const int norm_bucket = bucket("norm.weight");
        const int head_bucket = bucket(tied ? "embedding.weight" : "head.weight");
        head_uses = {.forward = {norm_bucket, head_bucket}, .backward = {norm_bucket}, .complete = {norm_bucket}};
        if (!tied || !part.embeds) head_uses.complete.push_back(head_bucket);  // else the embedding adds to it later
    }
};

Transformer::Transformer(const ModelConfig& config, std::int64_t vocabulary, std::int64_t sequence_length,
                         Parameters& parameters, LossOptions loss, const ModelPart& part)
    : impl_(std::make_unique<Impl>()) {
    check_inventory(coordinator::tensor_inventory(config, vocabulary, sequence_length), parameters);
    impl_->config = config;
    impl_->part = part;
    impl_->loss_options = loss;
    if (part.end_layer < 0) impl_->part.end_layer = config.layers;
    const bool gpt2 = config.layout == ModelLayout::gpt2;
    const auto view = [&](const std::string& name) { return ParameterView(parameters, name, name); };
    impl_->sequence_length = sequence_length;
    if (part.embeds) {
        impl_->embedding = view("embedding.weight");
        KIBAN_CHECK(impl_->embedding.size(0) == vocabulary,
                    "build the model: its vocabulary has {} tokens, the embedding {}", vocabulary,
                    impl_->embedding.size(0));
        if (gpt2) impl_->positions = view("positions.weight");
    }
    if (part.scores) {
        impl_->head = view(gpt2 ? "embedding.weight" : "head.weight");
        impl_->final_norm = norm_parameters(config, parameters, "norm");
    }
    std::shared_ptr<const RotaryTable> rotary;
    if (!gpt2)
        rotary =
            std::make_shared<const RotaryTable>(rotary_table(sequence_length, config.head_size(), config.rope_theta));
    DenseLinearFactory whole(parameters);
    LinearFactory& linears = part.linears != nullptr ? *part.linears : whole;
    const bool selective = part.checkpointing == ActivationCheckpointing::selective;
    for (std::int64_t layer = impl_->part.first_layer; layer < impl_->part.end_layer; ++layer)
        impl_->blocks.emplace_back(config, layer, parameters, linears, rotary, selective);
    impl_->note_buckets(parameters);
    impl_->part.linears = nullptr;
}

Transformer::~Transformer() = default;

std::unique_ptr<MicroBatchPass> Transformer::forward(const Batch& batch, double scale, std::span<const float> input) {
    return std::make_unique<MicroBatchPass>(impl_->pass(batch, scale, input, nullptr));
}

std::unique_ptr<MicroBatchPass> Transformer::evaluate(const Batch& batch, std::span<const float> input,
                                                      ActivationObserver* observer) {
    const at::NoGradGuard no_gradients;
    return std::make_unique<MicroBatchPass>(impl_->pass(batch, 1.0, input, observer));
}

double Transformer::accumulate_gradients(const Batch& batch, double scale, PassSeconds* seconds) {
    const Clock::time_point start = Clock::now();
    const auto pass = forward(batch, scale);
    const Clock::time_point middle = Clock::now();
    pass->backward();
    if (seconds != nullptr) *seconds = {seconds_between(start, middle), seconds_between(middle, Clock::now())};
    return pass->loss_sum();
}

double Transformer::loss_sum(const Batch& batch) { return evaluate(batch)->loss_sum(); }

std::vector<float> Transformer::logits(std::span<const std::int64_t> inputs, std::int64_t rows,
                                       std::int64_t tokens_per_row, std::span<const std::int32_t> positions) {
    const at::NoGradGuard no_gradients;
    const auto in_document =
        positions.empty() ? positions : impl_->positions_of(positions, inputs.size(), tokens_per_row);
    const at::Tensor x = impl_->run_blocks(impl_->embed_tokens(inputs, rows, tokens_per_row, in_document), rows,
                                           tokens_per_row, in_document);
    const at::Tensor result = impl_->through(impl_->head_uses, x, [&](const at::Tensor& in) {
        return linear(norm(in, impl_->final_norm).second, impl_->head, {});
    });
    return to_host(floats_of(result));
}

std::int64_t Transformer::tokens_here(std::int64_t rows) const {
    return impl_->tokens_of(rows, impl_->sequence_length).size();
}

std::int64_t Transformer::width() const { return impl_->config.d_model; }

MicroBatchPass::MicroBatchPass(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MicroBatchPass::~MicroBatchPass() = default;

std::span<const float> MicroBatchPass::output() const {
    return impl_->scores ? std::span<const float>() : floats_of(impl_->output);
}

double MicroBatchPass::loss_sum() const {
    double sum = 0;
    for (const double loss : impl_->losses) sum += loss;
    return sum;
}

std::int64_t MicroBatchPass::first_choices() const { return impl_->first_choices; }

std::span<const float> MicroBatchPass::backward(std::span<const float> output_gradient) {
    if (impl_->scores) {
        impl_->output.backward();
    } else {
        impl_->output.backward(tensor_of(output_gradient, impl_->output.size(1)));
    }
    impl_->output = at::Tensor();
    if (impl_->hooks != nullptr)
        for (const int bucket : impl_->embedding_buckets) impl_->hooks->after_backward(bucket);
    return impl_->embeds ? std::span<const float>() : floats_of(impl_->input.grad());
}

}  // namespace kiban::worker
