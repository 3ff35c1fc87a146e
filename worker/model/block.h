// SPDX-License-Identifier: Apache-2.0
// One pre-norm transformer block: x + attention(norm(x)), then + mlp(norm(.)).
//
// A function from [rows, D] to [rows, D] that keeps nothing between calls, so that it can be recomputed in the backward
// pass or stand on another rank; rows may be a range of the micro-batch's tokens, where the linears gather and scatter
// them. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "coordinator/job/model_config.h"
#include "worker/kernels/rotary.h"
#include "worker/model/functions.h"
#include "worker/model/linear.h"

namespace kiban::worker {

/// The norm called `name`, with a bias in the gpt2 shape.
NormParameters norm_parameters(const coordinator::ModelConfig& config, Parameters& parameters, const std::string& name);

class ActivationObserver;

class Block {
  public:
    /// `rotary` is null in the gpt2 shape. `recompute_mlp`: the second half keeps its input alone and is run again in
    /// the backward pass.
    Block(const coordinator::ModelConfig& config, std::int64_t layer, Parameters& parameters, LinearFactory& linears,
          std::shared_ptr<const RotaryTable> rotary, bool recompute_mlp = false);

    /// `positions` as in AttentionShape; must outlive the backward pass. `observer` may be null; it is shown the turned
    /// queries and keys.
    at::Tensor forward(const at::Tensor& x, std::int64_t rows, std::int64_t tokens_per_row,
                       const std::int32_t* positions, ActivationObserver* observer = nullptr);

  private:
    at::Tensor attend(const at::Tensor& x, std::int64_t rows, std::int64_t tokens_per_row,
                      const std::int32_t* positions, ActivationObserver* observer);
    at::Tensor mlp(const at::Tensor& x);

    coordinator::ModelConfig config_;
    std::int64_t layer_;
    std::shared_ptr<const RotaryTable> rotary_;
    bool recompute_mlp_;
    NormParameters attention_norm_;
    NormParameters mlp_norm_;
    std::unique_ptr<Linear> qkv_;
    std::unique_ptr<Linear> attention_out_;
    std::unique_ptr<Linear> up_;  // llama: [gate; up]
    std::unique_ptr<Linear> down_;
};

}  // namespace kiban::worker
