// SPDX-License-Identifier: Apache-2.0
// The decoder transformer, both shapes (gpt2, llama). Knows nothing of ranks, meshes or run files.
//
// Shapes: B batch, T sequence, D model, V vocabulary. Token ids and targets are row-major int64 [B, T]; target -1 is
// masked.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "coordinator/job/model_config.h"
#include "worker/model/parameters.h"

namespace kiban::worker {

struct Batch {  // rows of T tokens; both spans hold B*T values and must outlive the call
    std::int64_t rows = 0;
    std::span<const std::int64_t> inputs;
    std::span<const std::int64_t> targets;
};

struct PassSeconds {
    double forward = 0;
    double backward = 0;
};

struct LossOptions {    // what training minimises besides the cross-entropy
    double z_loss = 0;  // times logsumexp(logits)^2 of each target (Chowdhery et al. 2022, PaLM, section 5: 1e-4)
};

class Transformer {
  public:
    /// Uses `parameters` (which must hold tensor_inventory(config, vocabulary, sequence_length)) and outlives it not.
    Transformer(const coordinator::ModelConfig& config, std::int64_t vocabulary, std::int64_t sequence_length,
                Parameters& parameters, LossOptions loss = {});
    ~Transformer();

    /// Forward and backward: ADDS scale * d(sum of target losses)/d(parameter) to the gradients; returns the sum of
    /// target losses (nats). The terms of LossOptions enter the gradients alone, never a loss that is returned here or
    /// below: both are the plain cross-entropy.
    double accumulate_gradients(const Batch& batch, double scale, PassSeconds* seconds = nullptr);
    /// Forward only: the sum of target losses (nats), accumulated in double in row order.
    double loss_sum(const Batch& batch);
    /// Logits [B, T, V] as contiguous floats (tests, generation). T may be shorter than the sequence length here.
    std::vector<float> logits(std::span<const std::int64_t> inputs, std::int64_t rows, std::int64_t tokens_per_row);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace kiban::worker
