// SPDX-License-Identifier: Apache-2.0
// Every kernel of worker/kernels on fp32 once more, over LibTorch's operations on the device (worker/device/device.h):
// what runs on a GPU, and on the CPU where `train.kernels = "aten"` asks for it.
//
// The contracts are those of the native kernels of the same names: pointers are to floats of the device, spans to the
// host. Each native kernel calls its namesake here when the device says so, and nobody else does. Bits differ from the
// native ones but in the updates of AdamW and Muon, whose elements are computed operation by operation in the same
// order. The same bits from run to run on one device, on the CPU for one number of threads.
#pragma once

#include <cstdint>
#include <span>

#include "worker/kernels/accumulator.h"
#include "worker/kernels/adamw.h"
#include "worker/kernels/attention.h"
#include "worker/kernels/linear.h"
#include "worker/kernels/muon.h"
#include "worker/kernels/norm.h"
#include "worker/kernels/rotary.h"

namespace kiban::worker::aten {

void gelu_forward(std::int64_t count, const float* x, float* y);
void gelu_backward(std::int64_t count, const float* x, const float* dy, float* dx);
void swiglu_forward(std::int64_t rows, std::int64_t hidden, const float* gate_up, float* y);
void swiglu_backward(std::int64_t rows, std::int64_t hidden, const float* gate_up, const float* dy, float* dgate_up);

void adamw_update(const AdamWStep& step, std::int64_t count, const float* gradient, float* value, float* exp_avg,
                  float* exp_avg_sq);
double sum_of_squares(const float* values, std::int64_t count);

void attention_forward(const AttentionShape& shape, const float* qkv, float* out, float* logsumexp);
void attention_backward(const AttentionShape& shape, const float* qkv, const float* out, const float* logsumexp,
                        const float* dout, float* dqkv);

std::int64_t cross_entropy(std::int64_t vocabulary, const float* logits, std::span<const std::int64_t> targets,
                           std::span<double> losses);
void cross_entropy_with_gradient(std::int64_t vocabulary, float scale, float* logits,
                                 std::span<const std::int64_t> targets, std::span<double> losses, double z_loss);

void embedding_forward(std::span<const std::int64_t> tokens, std::int64_t first, std::int64_t tokens_per_row,
                       std::int64_t width, const float* table, const float* positions, float* x);
void add_positions(std::span<const std::int64_t> places, std::int64_t width, const float* positions, float* x);
void embedding_backward(std::span<const std::int64_t> tokens, std::int64_t vocabulary, std::int64_t width,
                        const float* dx, Accumulator table);
void positions_backward(std::int64_t first, std::int64_t count, std::int64_t tokens_per_row, std::int64_t table_rows,
                        std::int64_t width, const float* dx, Accumulator positions);

void linear_forward(const LinearShape& shape, const float* x, const float* weight, const float* bias,
                    const float* residual, float* y);
void linear_backward_input(const LinearShape& shape, const float* dy, const float* weight, float* dx);
void linear_backward_weight(const LinearShape& shape, const float* x, const float* dy, Accumulator weight,
                            Accumulator bias);

void muon_momentum(const MuonStep& step, std::int64_t count, const float* gradient, float* buffer, float* update);
void orthogonalise(std::int64_t rows, std::int64_t cols, float* g);
void muon_apply(const MuonStep& step, double scale, std::int64_t count, const float* direction, float* value);

void norm_forward(const NormShape& shape, const float* x, const float* weight, const float* bias, float* y,
                  float* statistics);
void norm_backward(const NormShape& shape, const float* x, const float* weight, const float* statistics,
                   const float* dy, const float* passing, float* dx, Accumulator weight_gradient,
                   Accumulator bias_gradient);

void column_sums(std::int64_t rows, std::int64_t columns, const float* matrix, Accumulator result);
void block_sums_of_squares(const float* x, std::int64_t count, std::int64_t block, double* sums);

void rotate(const RotaryTable& table, Turn turn, std::int64_t rows, std::int64_t tokens_per_row, std::int64_t heads,
            std::int64_t stride, float* x);

}  // namespace kiban::worker::aten
