// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/gemm.h"

#include "monitoring/error.h"

#if KIBAN_HAS_ONEDNN
#include <oneapi/dnnl/dnnl.h>
#else
#include <ATen/ATen.h>
#endif

namespace kiban::worker {

#if KIBAN_HAS_ONEDNN

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, float alpha, MatrixView a, MatrixView b, float beta, float* c,
          std::int64_t c_stride) {
    if (m == 0 || n == 0) return;
    const char a_form = a.form == Form::plain ? 'N' : 'T';
    const char b_form = b.form == Form::plain ? 'N' : 'T';
    const dnnl_status_t status =
        dnnl_sgemm(a_form, b_form, m, n, k, alpha, a.data, a.stride, b.data, b.stride, beta, c, c_stride);
    KIBAN_CHECK(status == dnnl_success,
                "matrix product [{}, {}] x [{}, {}] (strides {}, {}, {}): oneDNN returned status {}", m, k, k, n,
                a.stride, b.stride, c_stride, static_cast<int>(status));
}

const char* gemm_library() {
    static const std::string name = [] {
        const dnnl_version_t* version = dnnl_version();
        return fmt::format("oneDNN {}.{}.{}", version->major, version->minor, version->patch);
    }();
    return name.c_str();
}

#else

namespace {

at::Tensor view(MatrixView matrix, std::int64_t rows, std::int64_t columns) {
    const bool plain = matrix.form == Form::plain;
    return at::from_blob(const_cast<float*>(matrix.data), {rows, columns},
                         plain ? at::IntArrayRef{matrix.stride, 1} : at::IntArrayRef{1, matrix.stride}, at::kFloat);
}

}  // namespace

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, float alpha, MatrixView a, MatrixView b, float beta, float* c,
          std::int64_t c_stride) {
    if (m == 0 || n == 0) return;
    at::Tensor result = at::from_blob(c, {m, n}, {c_stride, 1}, at::kFloat);
    at::addmm_out(result, result, view(a, m, k), view(b, k, n), beta, alpha);
}

const char* gemm_library() { return "LibTorch BLAS"; }

#endif

}  // namespace kiban::worker
