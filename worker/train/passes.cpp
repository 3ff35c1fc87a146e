// SPDX-License-Identifier: Apache-2.0
#include "worker/train/passes.h"

#include <chrono>
#include <iterator>
#include <utility>

#include "monitoring/error.h"
#include "monitoring/fault.h"
#include "worker/comm/trace.h"
#include "worker/parallel/pipeline_schedule.h"

namespace kiban::worker {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kActivations = 11;  // tags between neighbouring stages
constexpr int kGradients = 12;

}  // namespace

Passes::Passes(ParallelModel& model, int micro_batches, bool fixed) : model_(model), micro_batches_(micro_batches) {
    if (fixed) tree_ = std::make_unique<GradientTree>(model.parameters(), micro_batches);
}

DeviceFloats Passes::receive_input(std::int64_t rows) {
    if (model_.embeds()) return {};
    const Group& stages = model_.mesh().pipeline;
    DeviceFloats input(model_.model().tokens_here(rows) * model_.model().width());
    stages.receive(input.span(), stages.rank() - 1, kActivations);
    return input;
}

// The head's gradients come in its forward pass, so a leaf of the tree begins before it.
void Passes::pass_forward(const Batch& batch, double scale) {
    if (tree_ && model_.scores()) tree_->begin_leaf();
    auto pass = model_.model().forward(batch, scale, receive_input(batch.rows).span());
    const double loss_sum = pass->loss_sum();
    if (!model_.scores()) {
        const Group& stages = model_.mesh().pipeline;
        activations_.push_back(stages.start_send(pass->output(), stages.rank() + 1, kActivations));
    }
    under_way_.push_back({std::move(pass), loss_sum});
}

double Passes::pass_backward(bool last) {
    UnderWay oldest = std::move(under_way_.front());
    under_way_.pop_front();
    const Group& stages = model_.mesh().pipeline;
    DeviceFloats output_gradient;
    if (!model_.scores()) {
        activations_.front().wait();
        activations_.pop_front();
        output_gradient.grow(std::ssize(oldest.pass->output()));
        stages.receive(output_gradient.span(), stages.rank() + 1, kGradients);
    }
    if (tree_ && !model_.scores()) tree_->begin_leaf();
    if (last && (!tree_ || micro_batches_ == 1)) model_.sharding().last_micro_batch();
    const std::span<const float> input_gradient = oldest.pass->backward(output_gradient.span());
    if (tree_) tree_->end_leaf();
    const double loss_sum = oldest.loss_sum;
    if (!model_.embeds()) {
        Handle sent = stages.start_send(input_gradient, stages.rank() - 1, kGradients);
        if (gradient_) gradient_->handle.wait();
        gradient_.emplace(Sent{std::move(oldest.pass), std::move(sent)});
    }
    return loss_sum;
}

std::vector<double> Passes::accumulate_gradients(const BatchOf& batch_of, double scale, const PassBegins& begins) {
    const Group& stages = model_.mesh().pipeline;
    std::vector<double> losses;
    for (const PipelineAction& action : one_forward_one_backward(stages.size(), micro_batches_, stages.rank())) {
        const Clock::time_point began = Clock::now();
        const bool forward = action.kind == PipelineAction::Kind::forward;
        const char* name = forward ? "forward" : "backward";
        if (begins) begins(name);
        if (forward) {
            monitoring::fault_point("step.micro_batch");
            pass_forward(batch_of(static_cast<std::uint64_t>(action.micro_batch)), scale);
        } else {
            if (action.micro_batch == 0) monitoring::fault_point("step.backward");
            losses.push_back(pass_backward(action.micro_batch + 1 == micro_batches_));
        }
        if (tracing()) trace("passes", fmt::format("{} {}", name, action.micro_batch), 0, began, Clock::now());
    }
    if (gradient_) gradient_->handle.wait();
    gradient_.reset();
    return losses;
}

Scored Passes::evaluate(const Batch& batch, ActivationObserver* observer) {
    const auto pass = model_.model().evaluate(batch, receive_input(batch.rows).span(), observer);
    if (!model_.scores()) {
        const Group& stages = model_.mesh().pipeline;
        stages.send(pass->output(), stages.rank() + 1, kActivations);
    }
    return {.loss = pass->loss_sum(), .first_choices = pass->first_choices()};
}

}  // namespace kiban::worker
