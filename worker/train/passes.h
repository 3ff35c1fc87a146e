// SPDX-License-Identifier: Apache-2.0
// The forward and backward passes of a step through this worker's part of the model, whatever it is cut into: with a
// pipeline, activations and their gradients travel between neighbouring stages.
//
// Functions communicate on every axis that is larger than one: all ranks call them with the same
// micro-batches. One thread. Errors: CommError.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "worker/comm/group.h"
#include "worker/device/memory.h"
#include "worker/parallel/gradient_tree.h"
#include "worker/parallel/parallelize.h"

namespace kiban::worker {

class Passes {
  public:
    using BatchOf = std::function<Batch(std::uint64_t micro_batch)>;
    using PassBegins = std::function<void(const char* pass)>;  // "forward" or "backward"

    /// `model` must outlive it. `micro_batches` of this worker in a step. `fixed`: gradients are summed in the fixed
    /// tree.
    Passes(ParallelModel& model, int micro_batches, bool fixed);

    /// Adds the gradients of scale * (sum of target losses) of a step's micro-batches; returns the sum of target losses
    /// of each, as far as its tokens are scored here. `batch_of` must give what lives to the end of the call.
    /// `begins`, where there is one, is called before each pass and must not throw: exchanges are under way.
    std::vector<double> accumulate_gradients(const BatchOf& batch_of, double scale, const PassBegins& begins = {});

    /// The sum of target losses of the tokens that are scored here; forward alone. `observer` sees what is here of it.
    Scored evaluate(const Batch& batch, ActivationObserver* observer = nullptr);

  private:
    struct UnderWay {
        std::unique_ptr<MicroBatchPass> pass;
        double loss_sum = 0;
    };
    struct Sent {  // what travels must stay where it is
        std::unique_ptr<MicroBatchPass> pass;
        Handle handle;  // goes first
    };

    void pass_forward(const Batch& batch, double scale);
    double pass_backward(bool last);
    DeviceFloats receive_input(std::int64_t rows);

    ParallelModel& model_;
    int micro_batches_;
    std::unique_ptr<GradientTree> tree_;  // null: one after the other
    std::deque<UnderWay> under_way_;      // oldest first
    std::deque<Handle> activations_;      // of those under way, on their way to the next stage
    std::optional<Sent> gradient_;        // on its way to the stage before
};

}  // namespace kiban::worker
