// SPDX-License-Identifier: Apache-2.0
// Single-precision matrix product on row-major memory, the one place that knows which library computes it.
//
// oneDNN where it was found at configuration (it reads the CPU itself), otherwise the BLAS of LibTorch. Uses the OpenMP
// threads of the process; inside a parallel region only the calling thread. Bit-equal from run to run for the same
// shape and thread count. Throws InternalError.
#pragma once

#include <cstdint>

namespace kiban::worker {

enum class Form { plain, transposed };

struct MatrixView {
    const float* data = nullptr;
    std::int64_t stride = 0;  // floats between the starts of stored rows
    Form form = Form::plain;  // transposed: the operand is the transpose of what is stored
};

inline MatrixView transposed(const float* data, std::int64_t stride) { return {data, stride, Form::transposed}; }

/// c[m, n] = alpha * a[m, k] b[k, n] + beta * c. With beta 0 the old c is not read.
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, float alpha, MatrixView a, MatrixView b, float beta, float* c,
          std::int64_t c_stride);

/// The library behind gemm(), for the log: "oneDNN 2.6.3" or "LibTorch BLAS".
const char* gemm_library();

}  // namespace kiban::worker
