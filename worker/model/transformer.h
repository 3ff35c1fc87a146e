// SPDX-License-Identifier: Apache-2.0
// The decoder transformer, both shapes (gpt2, llama), or the part of it that stands on this worker. Knows nothing of
// ranks, meshes or run files.
//
// Shapes: B batch, T sequence, D model, V vocabulary. Token ids and targets are row-major int64 [B, T]; target -1 is
// masked. Between blocks the B*T tokens may be shared out: this part then holds a contiguous range of them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "coordinator/job/model_config.h"
#include "coordinator/job/train_config.h"
#include "worker/model/bucket_hooks.h"
#include "worker/model/linear.h"
#include "worker/model/parameters.h"

namespace kiban::worker {

class ActivationObserver;

struct Batch {  // rows of T tokens; the spans hold B*T values and must outlive the call
    std::int64_t rows = 0;
    std::span<const std::int64_t> inputs;
    std::span<const std::int64_t> targets;
    /// Of each token, how many tokens of its document stand before it in the row. Read where the model attends within
    /// documents alone; there they must outlive the backward pass.
    std::span<const std::int32_t> positions = {};
};

struct Scored {                      // of target tokens
    double loss = 0;                 // nats: a sum
    std::int64_t first_choices = 0;  // that the model would have said first
};

struct PassSeconds {
    double forward = 0;
    double backward = 0;
};

struct LossOptions {    // what training minimises besides the cross-entropy
    double z_loss = 0;  // times logsumexp(logits)^2 of each target (Chowdhery et al. 2022, PaLM, section 5: 1e-4)
};

struct ModelPart {  // what of the network is here; the default is all of it
    std::int64_t first_layer = 0;
    std::int64_t end_layer = -1;  // -1: to the last
    bool embeds = true;           // has the embedding; otherwise it is given activations
    bool scores = true;           // has the head; otherwise it gives activations
    int token_part = 0;           // of the tokens between blocks: part token_part of token_parts
    int token_parts = 1;
    LinearFactory* linears = nullptr;  // null: whole layers. Needed during construction alone
    BucketHooks* hooks = nullptr;      // null: all parameters are always here
    coordinator::ActivationCheckpointing checkpointing = coordinator::ActivationCheckpointing::none;
};

class MicroBatchPass;

class Transformer {
  public:
    /// Uses `parameters` (which must hold the tensors of this part, coordinator/job/layout.h) and outlives it not.
    Transformer(const coordinator::ModelConfig& config, std::int64_t vocabulary, std::int64_t sequence_length,
                Parameters& parameters, LossOptions loss = {}, const ModelPart& part = {});
    ~Transformer();

    /// The forward pass of a micro-batch, kept for its backward pass. `input` [tokens here, D], on the device, where
    /// this part does not embed. The gradients will be those of scale * (sum of target losses), and of the terms of
    /// LossOptions, which enter no loss that is returned anywhere here: all are the plain cross-entropy.
    std::unique_ptr<MicroBatchPass> forward(const Batch& batch, double scale, std::span<const float> input = {});
    /// The same, with nothing kept: what backward() of it may not be called on. `observer`, where there is one, forgets
    /// nothing and is shown this part's share of the micro-batch; the result has the same bits.
    std::unique_ptr<MicroBatchPass> evaluate(const Batch& batch, std::span<const float> input = {},
                                             ActivationObserver* observer = nullptr);

    /// Forward and backward of the whole model: ADDS scale * d(sum of target losses)/d(parameter) to the gradients;
    /// returns the sum of target losses (nats).
    double accumulate_gradients(const Batch& batch, double scale, PassSeconds* seconds = nullptr);
    /// Forward only: the sum of target losses (nats), accumulated in double in row order.
    double loss_sum(const Batch& batch);
    /// Logits [B, T, V] as contiguous floats (tests, generation). T may be shorter than the sequence length here.
    /// `positions` as in Batch; empty: each row is one document.
    std::vector<float> logits(std::span<const std::int64_t> inputs, std::int64_t rows, std::int64_t tokens_per_row,
                              std::span<const std::int32_t> positions = {});

    /// Tokens of a micro-batch of `rows` rows that stand here between blocks.
    std::int64_t tokens_here(std::int64_t rows) const;
    std::int64_t width() const;  // D

    struct Impl;

  private:
    std::unique_ptr<Impl> impl_;
};

/// One micro-batch on its way through this part. The model and the batch must outlive it.
class MicroBatchPass {
  public:
    struct Impl;
    explicit MicroBatchPass(std::unique_ptr<Impl> impl);
    ~MicroBatchPass();

    /// [tokens here, D] for the next part, on the device; empty where this part scores.
    std::span<const float> output() const;
    /// Of the tokens here (nats); 0 where this part does not score.
    double loss_sum() const;
    /// Of evaluate(): tokens here whose target has the largest logit.
    std::int64_t first_choices() const;
    /// Once. `output_gradient` [tokens here, D], on the device; empty where this part scores. Returns the gradient of
    /// the input, there too, valid as long as this object; empty where this part embeds.
    std::span<const float> backward(std::span<const float> output_gradient = {});

  private:
    std::unique_ptr<Impl> impl_;
};

}  // namespace kiban::worker
