// SPDX-License-Identifier: Apache-2.0
// GELU in its tanh form (Hendrycks and Gimpel 2016) and SwiGLU (Shazeer 2020), element by element.
//
// On bf16, values are widened, computed with in fp32 and rounded once.
// Written with the logistic function: x/2 (1 + tanh u) = x / (1 + e^-2u), which loses no digits where tanh is near -1.
// Use the OpenMP threads of the process; the results do not depend on their number. Source and destination may be the
// same.
#pragma once

#include <cstdint>

#include "worker/kernels/bf16.h"

namespace kiban::worker {

/// y = gelu(x), each `count` floats.
void gelu_forward(std::int64_t count, const float* x, float* y);
/// dx = dy * gelu'(x).
void gelu_backward(std::int64_t count, const float* x, const float* dy, float* dx);

/// gate_up holds rows [gate; up] of 2 `hidden` floats; y[row] = gate * sigmoid(gate) * up, rows of `hidden`.
void swiglu_forward(std::int64_t rows, std::int64_t hidden, const float* gate_up, float* y);
void swiglu_backward(std::int64_t rows, std::int64_t hidden, const float* gate_up, const float* dy, float* dgate_up);

void gelu_forward(std::int64_t count, const Bf16* x, Bf16* y);
void gelu_backward(std::int64_t count, const Bf16* x, const Bf16* dy, Bf16* dx);
void swiglu_forward(std::int64_t rows, std::int64_t hidden, const Bf16* gate_up, Bf16* y);
void swiglu_backward(std::int64_t rows, std::int64_t hidden, const Bf16* gate_up, const Bf16* dy, Bf16* dgate_up);

}  // namespace kiban::worker
