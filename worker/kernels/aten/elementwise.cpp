// SPDX-License-Identifier: Apache-2.0
// Activations, rotary embedding and norms.
#include <ATen/ATen.h>

#include "worker/device/memory.h"
#include "worker/device/tensors.h"
#include "worker/kernels/aten/kernels.h"
#include "worker/kernels/aten/places.h"

namespace kiban::worker::aten {

using at::Tensor;

namespace {

// As in the native kernel, GELU is written with the logistic function: LibTorch's own, with tanh, loses digits where
// that is near -1.
constexpr float kTwiceRoot2OverPi = 1.5957691216057308F;
constexpr float kCubic = 0.044715F;

Tensor twice_the_tanhs_argument(const Tensor& x) {
    return (x * x).mul_(kCubic).add_(1.0F).mul_(x).mul_(kTwiceRoot2OverPi);
}

struct GateUp {
    Tensor gate, up;
};

GateUp halves(std::int64_t rows, std::int64_t hidden, const float* gate_up) {
    const Tensor both = view(gate_up, {rows, 2 * hidden});
    return {both.narrow(1, 0, hidden), both.narrow(1, hidden, hidden)};
}

// [tokens, K/2] each, on the device since the table was first used there.
struct Turns {
    Tensor cosines, sines;
};

Turns turns_of(const RotaryTable& table) {
    const auto count = static_cast<std::int64_t>(table.cosines.size());
    if (table.on_device == nullptr) {
        const auto owner = std::make_shared<DeviceFloats>(2 * count);
        from_host(table.cosines.data(), count, owner->data());
        from_host(table.sines.data(), count, owner->data() + count);
        table.on_device = {owner, owner->data()};
    }
    const std::int64_t half = table.head_size / 2;
    const float* data = table.on_device.get();
    return {view(data, {count / half, half}), view(data + count, {count / half, half})};
}

struct Normed {
    Tensor rstd;    // [rows, 1]
    Tensor normal;  // (x - mean) * rstd
};

Normed normed(const NormShape& shape, const float* x, const float* statistics) {
    const Tensor kept = view(statistics, {shape.rows, 2});
    const Tensor rstd = kept.narrow(1, 1, 1);
    Tensor normal = view(x, {shape.rows, shape.width});
    if (shape.centred) normal = normal - kept.narrow(1, 0, 1);
    return {rstd, normal * rstd};
}

}  // namespace

void gelu_forward(std::int64_t count, const float* x, float* y) {
    const Tensor in = view(x, {count});
    view(y, {count}).copy_(twice_the_tanhs_argument(in).sigmoid_().mul_(in));
}

void gelu_backward(std::int64_t count, const float* x, const float* dy, float* dx) {
    const Tensor in = view(x, {count});
    const Tensor argument = twice_the_tanhs_argument(in);
    const Tensor sigmoid = argument.sigmoid();
    const Tensor slope = (in * in).mul_(3 * kCubic).add_(1.0F).mul_(kTwiceRoot2OverPi);  // of the argument
    slope.mul_(in).mul_(sigmoid).mul_(argument.neg().sigmoid_()).add_(sigmoid);
    view(dx, {count}).copy_(slope.mul_(view(dy, {count})));
}

void swiglu_forward(std::int64_t rows, std::int64_t hidden, const float* gate_up, float* y) {
    const auto [gate, up] = halves(rows, hidden, gate_up);
    view(y, {rows, hidden}).copy_(at::silu(gate).mul_(up));
}

void swiglu_backward(std::int64_t rows, std::int64_t hidden, const float* gate_up, const float* dy, float* dgate_up) {
    const auto [gate, up] = halves(rows, hidden, gate_up);
    const Tensor gradient = view(dy, {rows, hidden});
    const Tensor dgate = at::silu_backward(gradient * up, gate);
    const Tensor dup = at::silu(gate).mul_(gradient);
    const auto [dgate_place, dup_place] = halves(rows, hidden, dgate_up);
    dgate_place.copy_(dgate);
    dup_place.copy_(dup);
}

void rotate(const RotaryTable& table, Turn turn, std::int64_t rows, std::int64_t tokens_per_row, std::int64_t heads,
            std::int64_t stride, float* x) {
    const std::int64_t half = table.head_size / 2;
    const auto [cosines, sines] = turns_of(table);
    const Tensor places = places_of(0, rows, tokens_per_row);
    const Tensor cosine = cosines.index_select(0, places).unsqueeze(1);  // [rows, 1, K/2]
    Tensor sine = sines.index_select(0, places).unsqueeze(1);
    if (turn == Turn::backward) sine.neg_();
    const Tensor first = view(x, {rows, heads, half}, {stride, 2 * half, 1});
    const Tensor second = view(x + half, {rows, heads, half}, {stride, 2 * half, 1});
    const Tensor turned = (first * cosine).sub_(second * sine);
    second.copy_((second * cosine).add_(first * sine));
    first.copy_(turned);
}

void norm_forward(const NormShape& shape, const float* x, const float* weight, const float* bias, float* y,
                  float* statistics) {
    const Tensor in = view(x, {shape.rows, shape.width});
    const Tensor kept = view(statistics, {shape.rows, 2});
    const Tensor mean = kept.narrow(1, 0, 1);
    if (shape.centred)
        mean.copy_(in.mean(1, /*keepdim=*/true));
    else
        mean.zero_();
    const Tensor centred = shape.centred ? in - mean : in;
    const Tensor rstd = centred.square().mean(1, /*keepdim=*/true).add_(shape.epsilon).rsqrt_();
    kept.narrow(1, 1, 1).copy_(rstd);
    Tensor result = (centred * rstd).mul_(view(weight, {shape.width}));
    if (shape.centred) result.add_(view(bias, {shape.width}));
    view(y, {shape.rows, shape.width}).copy_(result);
}

void norm_backward(const NormShape& shape, const float* x, const float* weight, const float* statistics,
                   const float* dy, const float* passing, float* dx, Accumulator weight_gradient,
                   Accumulator bias_gradient) {
    const auto [rstd, normal] = normed(shape, x, statistics);
    const Tensor gradient = view(dy, {shape.rows, shape.width});
    accumulate(weight_gradient, (gradient * normal).sum(0));
    if (shape.centred) accumulate(bias_gradient, gradient.sum(0));
    const Tensor g = gradient * view(weight, {shape.width});
    Tensor result = g - normal * (g * normal).mean(1, /*keepdim=*/true);
    if (shape.centred) result.sub_(g.mean(1, /*keepdim=*/true));
    result.mul_(rstd);
    if (passing != nullptr) result.add_(view(passing, {shape.rows, shape.width}));
    view(dx, {shape.rows, shape.width}).copy_(result);
}

}  // namespace kiban::worker::aten
