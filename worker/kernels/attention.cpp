// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "worker/device/device.h"
#include "worker/kernels/aten/kernels.h"
#include "worker/kernels/gemm.h"
#include "worker/kernels/simd.h"

namespace kiban::worker {

namespace {

constexpr std::int64_t kTileRows = 64;

/// Turns scores into e^(score - row maximum), zeros behind the `valid` first; returns maximum and sum.
struct RowSum {
    float most, sum;
};

KIBAN_SIMD RowSum exponentiate_row(std::int64_t valid, std::int64_t width, float* scores) {
    float most = scores[0];
#pragma omp simd reduction(max : most)
    for (std::int64_t i = 0; i < valid; ++i) most = scores[i] > most ? scores[i] : most;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < valid; ++i) {
        const float e = simd_exp(scores[i] - most);
        scores[i] = e;
        sum += e;
    }
    for (std::int64_t i = valid; i < width; ++i) scores[i] = 0.0F;
    return {most, sum};
}

KIBAN_SIMD void scale_row(std::int64_t width, float factor, float* x) {
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) x[i] *= factor;
}

KIBAN_SIMD float dot(std::int64_t width, const float* a, const float* b) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < width; ++i) sum += a[i] * b[i];
    return sum;
}

/// scores -> probabilities p; dp -> p * (dp - delta); zeros behind the `valid` first.
KIBAN_SIMD void probability_gradient_row(std::int64_t valid, std::int64_t width, float logsumexp, float delta,
                                         float* scores, float* dp) {
#pragma omp simd
    for (std::int64_t i = 0; i < valid; ++i) {
        const float p = simd_exp(scores[i] - logsumexp);
        scores[i] = p;
        dp[i] = p * (dp[i] - delta);
    }
    for (std::int64_t i = valid; i < width; ++i) {
        scores[i] = 0.0F;
        dp[i] = 0.0F;
    }
}

/// The slices of the packed buffers that one (batch row, query head) reads and writes.
struct Head {
    const float *q, *k, *v;
    std::int64_t q_at, k_at, v_at, out_at, logsumexp_at;
    std::int64_t batch;  // its batch row
};

Head head_at(const AttentionShape& shape, const float* qkv, std::int64_t batch, std::int64_t head) {
    const std::int64_t size = shape.head_size;
    const std::int64_t kv = head / (shape.heads / shape.kv_heads);
    const std::int64_t row = batch * shape.tokens * shape.packed_width();
    Head at{};
    at.q_at = row + head * size;
    at.k_at = row + (shape.heads + kv) * size;
    at.v_at = row + (shape.heads + shape.kv_heads + kv) * size;
    at.out_at = batch * shape.tokens * shape.out_width() + head * size;
    at.logsumexp_at = (batch * shape.heads + head) * shape.tokens;
    at.batch = batch;
    if (qkv == nullptr) return at;  // its place alone
    at.q = qkv + at.q_at;
    at.k = qkv + at.k_at;
    at.v = qkv + at.v_at;
    return at;
}

void forward_head(const AttentionShape& shape, const Head& head, float* out, float* logsumexp, float* scores) {
    const std::int64_t stride = shape.packed_width();
    const std::int64_t size = shape.head_size;
    const float scale = 1.0F / std::sqrt(static_cast<float>(size));
    for (std::int64_t first = 0; first < shape.tokens; first += kTileRows) {
        const std::int64_t end = std::min(shape.tokens, first + kTileRows);
        const std::int64_t rows = end - first;
        const std::int64_t begin = shape.first_key(head.batch, first);
        const std::int64_t keys = end - begin;
        gemm(rows, keys, size, scale, {head.q + first * stride, stride}, transposed(head.k + begin * stride, stride),
             0.0F, scores, keys);
        RowSum sums[kTileRows];
        for (std::int64_t i = 0; i < rows; ++i) {
            const std::int64_t others = shape.first_key(head.batch, first + i) - begin;  // keys of the documents before
            float* own = scores + i * keys + others;
            std::fill(own - others, own, 0.0F);
            sums[i] = exponentiate_row(first + i + 1 - begin - others, keys - others, own);
            logsumexp[first + i] = sums[i].most + std::log(sums[i].sum);
        }
        float* tile = out + first * shape.out_width();
        gemm(rows, size, keys, 1.0F, {scores, keys}, {head.v + begin * stride, stride}, 0.0F, tile, shape.out_width());
        for (std::int64_t i = 0; i < rows; ++i) scale_row(size, 1.0F / sums[i].sum, tile + i * shape.out_width());
    }
}

void clear_rows(std::int64_t rows, std::int64_t size, std::int64_t stride, float* x) {
    for (std::int64_t row = 0; row < rows; ++row) std::fill(x + row * stride, x + row * stride + size, 0.0F);
}

/// Writes dq of the head; accumulates dk and dv with `beta` (0 or 1) at first touch. Tiles run from the last to the
/// first: the last one reaches every key, so that the others only add; not so where there are documents.
void backward_head(const AttentionShape& shape, const Head& head, const float* out, const float* logsumexp,
                   const float* dout, float beta, float* dq, float* dk, float* dv, float* scores, float* dscores) {
    const std::int64_t stride = shape.packed_width();
    const std::int64_t out_stride = shape.out_width();
    const std::int64_t size = shape.head_size;
    const float scale = 1.0F / std::sqrt(static_cast<float>(size));
    const std::int64_t tiles = (shape.tokens + kTileRows - 1) / kTileRows;
    if (shape.positions != nullptr && beta == 0.0F) {
        clear_rows(shape.tokens, size, stride, dk);
        clear_rows(shape.tokens, size, stride, dv);
        beta = 1.0F;
    }
    for (std::int64_t tile = tiles - 1; tile >= 0; --tile) {
        const std::int64_t first = tile * kTileRows;
        const std::int64_t end = std::min(shape.tokens, first + kTileRows);
        const std::int64_t rows = end - first;
        const float* q = head.q + first * stride;
        const float* tile_dout = dout + first * out_stride;
        const std::int64_t begin = shape.first_key(head.batch, first);
        const std::int64_t keys = end - begin;
        const float* k = head.k + begin * stride;
        gemm(rows, keys, size, scale, {q, stride}, transposed(k, stride), 0.0F, scores, keys);
        gemm(rows, keys, size, 1.0F, {tile_dout, out_stride}, transposed(head.v + begin * stride, stride), 0.0F,
             dscores, keys);
        for (std::int64_t i = 0; i < rows; ++i) {
            const float delta = dot(size, tile_dout + i * out_stride, out + (first + i) * out_stride);
            const std::int64_t others = shape.first_key(head.batch, first + i) - begin;  // keys of the documents before
            float* p = scores + i * keys;
            float* dp = dscores + i * keys;
            std::fill(p, p + others, 0.0F);
            std::fill(dp, dp + others, 0.0F);
            probability_gradient_row(first + i + 1 - begin - others, keys - others, logsumexp[first + i], delta,
                                     p + others, dp + others);
        }
        const float tile_beta = tile == tiles - 1 ? beta : 1.0F;
        gemm(keys, size, rows, 1.0F, transposed(scores, keys), {tile_dout, out_stride}, tile_beta, dv + begin * stride,
             stride);
        gemm(keys, size, rows, scale, transposed(dscores, keys), {q, stride}, tile_beta, dk + begin * stride, stride);
        gemm(rows, size, keys, scale, {dscores, keys}, {k, stride}, 0.0F, dq + first * stride, stride);
    }
}

}  // namespace

void attention_forward(const AttentionShape& shape, const float* qkv, float* out, float* logsumexp) {
    if (aten_kernels()) return aten::attention_forward(shape, qkv, out, logsumexp);
    const std::int64_t tasks = shape.batch * shape.heads;
#pragma omp parallel
    {
        std::vector<float> scores(static_cast<std::size_t>(kTileRows * shape.tokens));
#pragma omp for schedule(static)
        for (std::int64_t task = 0; task < tasks; ++task) {
            const Head head = head_at(shape, qkv, task / shape.heads, task % shape.heads);
            forward_head(shape, head, out + head.out_at, logsumexp + head.logsumexp_at, scores.data());
        }
    }
}

void attention_backward(const AttentionShape& shape, const float* qkv, const float* out, const float* logsumexp,
                        const float* dout, float* dqkv) {
    if (aten_kernels()) return aten::attention_backward(shape, qkv, out, logsumexp, dout, dqkv);
    const std::int64_t group = shape.heads / shape.kv_heads;
    const std::int64_t tasks = shape.batch * shape.kv_heads;  // a group shares dk and dv, so one thread does it
#pragma omp parallel
    {
        std::vector<float> scores(static_cast<std::size_t>(kTileRows * shape.tokens));
        std::vector<float> dscores(scores.size());
#pragma omp for schedule(static)
        for (std::int64_t task = 0; task < tasks; ++task) {
            for (std::int64_t member = 0; member < group; ++member) {
                const Head head = head_at(shape, qkv, task / shape.kv_heads, task % shape.kv_heads * group + member);
                backward_head(shape, head, out + head.out_at, logsumexp + head.logsumexp_at, dout + head.out_at,
                              member == 0 ? 0.0F : 1.0F, dqkv + head.q_at, dqkv + head.k_at, dqkv + head.v_at,
                              scores.data(), dscores.data());
            }
        }
    }
}

namespace {

/// One head, widened: a packed tensor of its own, [T, q k v], and what belongs to it.
struct WideHead {
    explicit WideHead(const AttentionShape& shape)
        : alone{.batch = 1,
                .tokens = shape.tokens,
                .heads = 1,
                .kv_heads = 1,
                .head_size = shape.head_size,
                .positions = nullptr},
          qkv(static_cast<std::size_t>(shape.tokens * alone.packed_width())),
          out(static_cast<std::size_t>(shape.tokens * shape.head_size)) {}

    void widen(const AttentionShape& shape, const Head& at, const Bf16* all) {
        alone.positions = shape.positions == nullptr ? nullptr : shape.positions + at.batch * shape.tokens;
        const std::int64_t size = shape.head_size;
        for (std::int64_t token = 0; token < shape.tokens; ++token) {
            const Bf16* row = all + token * shape.packed_width();
            float* wide = qkv.data() + token * 3 * size;
            widen_run(size, row + at.q_at, wide);
            widen_run(size, row + at.k_at, wide + size);
            widen_run(size, row + at.v_at, wide + 2 * size);
        }
    }

    AttentionShape alone;
    std::vector<float> qkv;
    std::vector<float> out;
};

/// The first `size` columns of `rows` rows.
void widen_columns(std::int64_t rows, std::int64_t size, const Bf16* x, std::int64_t stride, float* y) {
    for (std::int64_t row = 0; row < rows; ++row) widen_run(size, x + row * stride, y + row * size);
}

void round_columns(std::int64_t rows, std::int64_t size, const float* x, std::int64_t x_stride, Bf16* y,
                   std::int64_t y_stride) {
    for (std::int64_t row = 0; row < rows; ++row) round_run(size, x + row * x_stride, y + row * y_stride);
}

}  // namespace

void attention_forward(const AttentionShape& shape, const Bf16* qkv, Bf16* out, float* logsumexp) {
    const std::int64_t tasks = shape.batch * shape.heads;
    const std::int64_t size = shape.head_size;
#pragma omp parallel
    {
        std::vector<float> scores(static_cast<std::size_t>(kTileRows * shape.tokens));
        WideHead wide(shape);
#pragma omp for schedule(static)
        for (std::int64_t task = 0; task < tasks; ++task) {
            const Head at = head_at(shape, nullptr, task / shape.heads, task % shape.heads);
            wide.widen(shape, at, qkv);
            const Head head = head_at(wide.alone, wide.qkv.data(), 0, 0);
            forward_head(wide.alone, head, wide.out.data(), logsumexp + at.logsumexp_at, scores.data());
            round_columns(shape.tokens, size, wide.out.data(), size, out + at.out_at, shape.out_width());
        }
    }
}

void attention_backward(const AttentionShape& shape, const Bf16* qkv, const Bf16* out, const float* logsumexp,
                        const Bf16* dout, Bf16* dqkv) {
    const std::int64_t group = shape.heads / shape.kv_heads;
    const std::int64_t tasks = shape.batch * shape.kv_heads;
    const std::int64_t size = shape.head_size;
    const std::int64_t packed = shape.packed_width();
#pragma omp parallel
    {
        std::vector<float> scores(static_cast<std::size_t>(kTileRows * shape.tokens));
        std::vector<float> dscores(scores.size());
        WideHead wide(shape);
        std::vector<float> dwide(wide.qkv.size());
        std::vector<float> dwide_out(wide.out.size());
#pragma omp for schedule(static)
        for (std::int64_t task = 0; task < tasks; ++task) {
            Head at{};
            for (std::int64_t member = 0; member < group; ++member) {
                at = head_at(shape, nullptr, task / shape.kv_heads, task % shape.kv_heads * group + member);
                wide.widen(shape, at, qkv);
                widen_columns(shape.tokens, size, out + at.out_at, shape.out_width(), wide.out.data());
                widen_columns(shape.tokens, size, dout + at.out_at, shape.out_width(), dwide_out.data());
                const Head head = head_at(wide.alone, wide.qkv.data(), 0, 0);
                float* dq = dwide.data();
                backward_head(wide.alone, head, wide.out.data(), logsumexp + at.logsumexp_at, dwide_out.data(),
                              member == 0 ? 0.0F : 1.0F, dq, dq + size, dq + 2 * size, scores.data(), dscores.data());
                round_columns(shape.tokens, size, dq, 3 * size, dqkv + at.q_at, packed);
            }
            round_columns(shape.tokens, size, dwide.data() + size, 3 * size, dqkv + at.k_at, packed);
            round_columns(shape.tokens, size, dwide.data() + 2 * size, 3 * size, dqkv + at.v_at, packed);
        }
    }
}

}  // namespace kiban::worker
