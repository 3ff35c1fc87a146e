// SPDX-License-Identifier: Apache-2.0
// Matrix products of bf16 operands on row-major memory, summed in fp32: each product of two bf16 values is exact in
// fp32, so that only the sums round.
//
// oneDNN's matmul where the CPU multiplies bf16 (AVX512_BF16, AMX); elsewhere the operands are widened and go through
// gemm(): the same numbers but for the order of the sums, at the speed of fp32. Primitives are kept by shape, on each
// thread that multiplies. Uses the OpenMP threads of the process. Bit-equal from run to run for the same shape, CPU and
// thread count. Throws InternalError.
#pragma once

#include <cstdint>
#include <string>

#include "worker/kernels/bf16.h"
#include "worker/kernels/gemm.h"

namespace kiban::worker {

struct Bf16View {
    const Bf16* data = nullptr;
    std::int64_t stride = 0;  // values between the starts of stored rows
    Form form = Form::plain;  // transposed: the operand is the transpose of what is stored
};

inline Bf16View transposed(const Bf16* data, std::int64_t stride) { return {data, stride, Form::transposed}; }

/// c[m, n] = a[m, k] b[k, n], or c + a b where `add`; without it, the old c is not read.
void gemm_bf16(std::int64_t m, std::int64_t n, std::int64_t k, Bf16View a, Bf16View b, bool add, float* c,
               std::int64_t c_stride);

/// c[m, n] = a[m, k] b[k, n] + bias[n], rounded once at the end; bias may be null.
void gemm_bf16(std::int64_t m, std::int64_t n, std::int64_t k, Bf16View a, Bf16View b, const float* bias, Bf16* c,
               std::int64_t c_stride);

/// How this CPU multiplies bf16, for the log and the exactness of a resume: "bf16 products by AVX512_BF16" or "bf16
/// operands multiplied in fp32".
const std::string& bf16_products();

}  // namespace kiban::worker
