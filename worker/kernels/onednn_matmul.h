// SPDX-License-Identifier: Apache-2.0
// oneDNN's matmul primitive for bf16 operands, kept by shape. Internal to kernels/gemm_bf16.
#pragma once

#include <compare>
#include <cstdint>

#include "worker/kernels/bf16.h"
#include "worker/kernels/gemm.h"

namespace kiban::worker {

enum class MatmulResult { plain, sum, rounded };  // floats; added to floats; bf16

struct MatmulShape {
    std::int64_t m, n, k;
    std::int64_t a_stride, b_stride, c_stride;
    Form a_form, b_form;
    MatmulResult result;
    bool has_bias;
    auto operator<=>(const MatmulShape&) const = default;
};

/// oneDNN 2 was found at configuration and says that this CPU multiplies bf16 (AVX512_BF16 or AMX).
bool onednn_multiplies_bf16();

/// c = a b (+ bias or c, as the shape says). InternalError with oneDNN's status.
void onednn_matmul(const MatmulShape& shape, const Bf16* a, const Bf16* b, const float* bias, void* c);

}  // namespace kiban::worker
