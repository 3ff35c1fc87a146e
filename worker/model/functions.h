// SPDX-License-Identifier: Apache-2.0
// The model's operations as autograd functions over the kernels: tensors in, tensors out, gradients of parameters into
// the flat buffer.
//
// Activations are contiguous tensors [rows, features] on the device (worker/device/device.h), rows being B*T tokens;
// another device or type is refused (InternalError). They are fp32. Where the parameters are multiplied in bf16, so is
// what stands between the products of a block's half, from LinearResult::activation to the next linear: it is kept, and
// its gradient comes, in bf16. A backward pass may be run once; on a device that is not the CPU, LibTorch runs it in a
// thread of its own while the caller waits. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "worker/kernels/attention.h"
#include "worker/kernels/rotary.h"
#include "worker/model/parameter_view.h"

namespace kiban::worker {

struct Tokens {                         // neighbours of one micro-batch; must outlive its backward pass
    std::span<const std::int64_t> ids;  // [count]
    std::int64_t first = 0;             // place of ids[0] among the micro-batch's tokens
    std::int64_t per_row = 0;
    /// [count]: the position of each in its document; empty: that in its row.
    std::span<const std::int32_t> positions = {};
};

/// [count, D]; `positions` may be undefined. Throws InternalError naming a token outside the table.
at::Tensor embed(const Tokens& tokens, const ParameterView& table, const ParameterView& positions);

enum class LinearResult {
    full,        // fp32
    activation,  // of the precision that the weight is multiplied in
};

/// x W^T + bias (+ residual); bias and residual may be undefined. In bf16, x is rounded unless it is bf16 already, the
/// product is summed in fp32, and the rounded x is what is kept for the backward pass.
at::Tensor linear(const at::Tensor& x, const ParameterView& weight, const ParameterView& bias,
                  const at::Tensor& residual = {}, LinearResult result = LinearResult::full);

struct NormParameters {
    ParameterView weight;
    ParameterView bias;  // undefined: RMSNorm
    float epsilon = 1e-5F;
};

/// {x, norm(x)}: take x from here wherever it goes on beside the norm, and its two gradients are summed in the norm's
/// own pass.
std::pair<at::Tensor, at::Tensor> norm(const at::Tensor& x, const NormParameters& parameters);

at::Tensor gelu(const at::Tensor& x);
/// [rows, 2F] of [gate, up] -> [rows, F].
at::Tensor swiglu(const at::Tensor& gate_up);

/// Turns the first `heads` heads of qkv; overwrites qkv, which nothing else may read.
at::Tensor rotary(const at::Tensor& qkv, const std::shared_ptr<const RotaryTable>& table, std::int64_t tokens_per_row,
                  std::int64_t heads);

/// Packed [rows, packed_width] -> [rows, heads * head_size]. What shape.positions points to must outlive the backward
/// pass.
at::Tensor attention(const at::Tensor& qkv, const AttentionShape& shape);

/// Head product, softmax and cross-entropy in one, a chunk of rows at a time, so that the logits of all rows never
/// stand in memory together. Returns the sum of target losses times `scale` as a 0-dim double; writes each row's
/// unscaled loss to `losses`. When x needs a gradient, x's and the weight's are computed in this forward pass; the
/// result must then be the root of backward() itself. `z_loss` enters those gradients alone (kernels/cross_entropy.h).
/// Where it needs none, `first_choices` becomes the number of targets with the largest logit.
at::Tensor head_loss(const at::Tensor& x, const ParameterView& weight, std::span<const std::int64_t> targets,
                     double scale, std::span<double> losses, double z_loss = 0, std::int64_t* first_choices = nullptr);

/// x itself. The backward pass calls `call` when the gradient of what came after it is complete.
at::Tensor on_backward(const at::Tensor& x, std::function<void()> call);

/// run(x), keeping only x: the backward pass runs it again (Chen et al. 2016, section 4). `run` must add to gradients
/// in its backward pass alone and give the same bits each time.
at::Tensor recompute(const at::Tensor& x, std::function<at::Tensor(const at::Tensor&)> run);

}  // namespace kiban::worker
