// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/gemm_bf16.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "monitoring/error.h"
#include "worker/kernels/onednn_matmul.h"

namespace kiban::worker {

namespace {

std::vector<float> widened_rows(Bf16View x, std::int64_t rows, std::int64_t columns) {
    if (x.form == Form::transposed) std::swap(rows, columns);
    std::vector<float> floats(static_cast<std::size_t>(rows * columns));
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < rows; ++row)
        widen_run(columns, x.data + row * x.stride, floats.data() + row * columns);
    return floats;
}

MatrixView view(const std::vector<float>& floats, Form form, std::int64_t rows, std::int64_t columns) {
    return {floats.data(), form == Form::plain ? columns : rows, form};
}

void multiply_widened(std::int64_t m, std::int64_t n, std::int64_t k, Bf16View a, Bf16View b, bool add, float* c,
                      std::int64_t c_stride) {
    const std::vector<float> wide_a = widened_rows(a, m, k);
    const std::vector<float> wide_b = widened_rows(b, k, n);
    gemm(m, n, k, 1.0F, view(wide_a, a.form, m, k), view(wide_b, b.form, k, n), add ? 1.0F : 0.0F, c, c_stride);
}

}  // namespace

void gemm_bf16(std::int64_t m, std::int64_t n, std::int64_t k, Bf16View a, Bf16View b, bool add, float* c,
               std::int64_t c_stride) {
    if (m == 0 || n == 0) return;
    if (!onednn_multiplies_bf16()) return multiply_widened(m, n, k, a, b, add, c, c_stride);
    onednn_matmul(
        {m, n, k, a.stride, b.stride, c_stride, a.form, b.form, add ? MatmulResult::sum : MatmulResult::plain, false},
        a.data, b.data, nullptr, c);
}

void gemm_bf16(std::int64_t m, std::int64_t n, std::int64_t k, Bf16View a, Bf16View b, const float* bias, Bf16* c,
               std::int64_t c_stride) {
    if (m == 0 || n == 0) return;
    if (onednn_multiplies_bf16()) {
        onednn_matmul({m, n, k, a.stride, b.stride, c_stride, a.form, b.form, MatmulResult::rounded, bias != nullptr},
                      a.data, b.data, bias, c);
        return;
    }
    std::vector<float> wide(static_cast<std::size_t>(m * n));
    for (std::int64_t row = 0; bias != nullptr && row < m; ++row) std::copy_n(bias, n, wide.data() + row * n);
    multiply_widened(m, n, k, a, b, bias != nullptr, wide.data(), n);
    for (std::int64_t row = 0; row < m; ++row) round_run(n, wide.data() + row * n, c + row * c_stride);
}

const std::string& bf16_products() {
    static const std::string text =
        onednn_multiplies_bf16() ? "bf16 products by AVX512_BF16" : "bf16 operands multiplied in fp32";
    return text;
}

}  // namespace kiban::worker
