// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/activation.h"

#include <algorithm>
#include <array>

#include "worker/device/device.h"
#include "worker/kernels/aten/kernels.h"
#include "worker/kernels/simd.h"

namespace kiban::worker {

namespace {

constexpr std::int64_t kBlockElements =
    4096;  // fixed, so that vector and remainder loops do not move with the thread count
constexpr float kTwoRootTwoOverPi = 1.5957691216057308F;
constexpr float kCubic = 0.044715F;

KIBAN_SIMD void gelu_block(std::int64_t count, const float* x, float* y) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
        const float v = x[i];
        y[i] = v * simd_logistic(kTwoRootTwoOverPi * v * (1.0F + kCubic * v * v)).value;
    }
}

KIBAN_SIMD void gelu_gradient_block(std::int64_t count, const float* x, const float* dy, float* dx) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
        const float v = x[i];
        const float square = kCubic * v * v;
        const Logistic s = simd_logistic(kTwoRootTwoOverPi * v * (1.0F + square));
        const float slope = kTwoRootTwoOverPi * (1.0F + 3.0F * square);
        dx[i] = dy[i] * s.value * (1.0F + v * s.complement * slope);
    }
}

KIBAN_SIMD void swiglu_row(std::int64_t hidden, const float* gate, const float* up, float* y) {
#pragma omp simd
    for (std::int64_t i = 0; i < hidden; ++i) y[i] = gate[i] * simd_logistic(gate[i]).value * up[i];
}

KIBAN_SIMD void swiglu_gradient_row(std::int64_t hidden, const float* gate, const float* up, const float* dy,
                                    float* dgate, float* dup) {
#pragma omp simd
    for (std::int64_t i = 0; i < hidden; ++i) {
        const float g = gate[i];
        const Logistic s = simd_logistic(g);
        const float d = dy[i];
        dgate[i] = d * up[i] * s.value * (1.0F + g * s.complement);
        dup[i] = d * g * s.value;
    }
}

}  // namespace

void gelu_forward(std::int64_t count, const float* x, float* y) {
    if (aten_kernels()) return aten::gelu_forward(count, x, y);
    const std::int64_t blocks = (count + kBlockElements - 1) / kBlockElements;
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < blocks; ++block) {
        const std::int64_t begin = block * kBlockElements;
        gelu_block(std::min(kBlockElements, count - begin), x + begin, y + begin);
    }
}

void gelu_backward(std::int64_t count, const float* x, const float* dy, float* dx) {
    if (aten_kernels()) return aten::gelu_backward(count, x, dy, dx);
    const std::int64_t blocks = (count + kBlockElements - 1) / kBlockElements;
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < blocks; ++block) {
        const std::int64_t begin = block * kBlockElements;
        gelu_gradient_block(std::min(kBlockElements, count - begin), x + begin, dy + begin, dx + begin);
    }
}

void swiglu_forward(std::int64_t rows, std::int64_t hidden, const float* gate_up, float* y) {
    if (aten_kernels()) return aten::swiglu_forward(rows, hidden, gate_up, y);
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < rows; ++row) {
        const float* gate = gate_up + row * 2 * hidden;
        swiglu_row(hidden, gate, gate + hidden, y + row * hidden);
    }
}

void swiglu_backward(std::int64_t rows, std::int64_t hidden, const float* gate_up, const float* dy, float* dgate_up) {
    if (aten_kernels()) return aten::swiglu_backward(rows, hidden, gate_up, dy, dgate_up);
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < rows; ++row) {
        const float* gate = gate_up + row * 2 * hidden;
        float* dgate = dgate_up + row * 2 * hidden;
        swiglu_gradient_row(hidden, gate, gate + hidden, dy + row * hidden, dgate, dgate + hidden);
    }
}

using Block = std::array<float, kBlockElements>;

void gelu_forward(std::int64_t count, const Bf16* x, Bf16* y) {
    const std::int64_t blocks = (count + kBlockElements - 1) / kBlockElements;
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < blocks; ++block) {
        const std::int64_t begin = block * kBlockElements;
        const std::int64_t run = std::min(kBlockElements, count - begin);
        Block values;
        widen_run(run, x + begin, values.data());
        gelu_block(run, values.data(), values.data());
        round_run(run, values.data(), y + begin);
    }
}

void gelu_backward(std::int64_t count, const Bf16* x, const Bf16* dy, Bf16* dx) {
    const std::int64_t blocks = (count + kBlockElements - 1) / kBlockElements;
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < blocks; ++block) {
        const std::int64_t begin = block * kBlockElements;
        const std::int64_t run = std::min(kBlockElements, count - begin);
        Block values;
        Block gradients;
        widen_run(run, x + begin, values.data());
        widen_run(run, dy + begin, gradients.data());
        gelu_gradient_block(run, values.data(), gradients.data(), values.data());
        round_run(run, values.data(), dx + begin);
    }
}

void swiglu_forward(std::int64_t rows, std::int64_t hidden, const Bf16* gate_up, Bf16* y) {
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t begin = 0; begin < hidden; begin += kBlockElements) {
            const std::int64_t run = std::min(kBlockElements, hidden - begin);
            const Bf16* half = gate_up + row * 2 * hidden + begin;
            Block gate;
            Block up;
            widen_run(run, half, gate.data());
            widen_run(run, half + hidden, up.data());
            swiglu_row(run, gate.data(), up.data(), gate.data());
            round_run(run, gate.data(), y + row * hidden + begin);
        }
    }
}

void swiglu_backward(std::int64_t rows, std::int64_t hidden, const Bf16* gate_up, const Bf16* dy, Bf16* dgate_up) {
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t begin = 0; begin < hidden; begin += kBlockElements) {
            const std::int64_t run = std::min(kBlockElements, hidden - begin);
            const std::int64_t at = row * 2 * hidden + begin;
            Block gate;
            Block up;
            Block gradient;
            widen_run(run, gate_up + at, gate.data());
            widen_run(run, gate_up + at + hidden, up.data());
            widen_run(run, dy + row * hidden + begin, gradient.data());
            swiglu_gradient_row(run, gate.data(), up.data(), gradient.data(), gate.data(), up.data());
            round_run(run, gate.data(), dgate_up + at);
            round_run(run, up.data(), dgate_up + at + hidden);
        }
    }
}

}  // namespace kiban::worker
