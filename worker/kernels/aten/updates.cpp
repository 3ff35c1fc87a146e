// SPDX-License-Identifier: Apache-2.0
// AdamW, Muon and sums of squares. One operation after the other, none of which LibTorch may fuse with the next: so an
// element's bits depend on its own inputs alone, and are those of the native kernels.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "worker/device/tensors.h"
#include "worker/kernels/aten/kernels.h"

namespace kiban::worker::aten {

using at::Tensor;

namespace {

constexpr std::int64_t kChunk = std::int64_t{16} << 20;  // elements whose temporaries stand at once
constexpr std::int64_t kBlock = 64 * 1024;
constexpr int kNewtonSchulzSteps = 5;
constexpr float kA = 3.4445F;
constexpr float kB = -4.7750F;
constexpr float kC = 2.0315F;
constexpr double kNormEpsilon = 1e-7;

template <typename Work>
void in_chunks(std::int64_t count, std::int64_t chunk, const Work& work) {
    for (std::int64_t begin = 0; begin < count; begin += chunk) work(begin, std::min(chunk, count - begin));
}

// Sums of the rows of [rows, width] by halving: additions of whole columns, whose bits depend on nothing but the row.
Tensor row_sums(Tensor terms) {
    for (std::int64_t width = terms.size(1); width > 1; width -= width / 2)
        terms.narrow(1, 0, width / 2).add_(terms.narrow(1, width - width / 2, width / 2));
    return terms.select(1, 0);
}

Tensor newton_schulz(const Tensor& x) {
    const bool tall = x.size(0) > x.size(1);
    const Tensor gram = tall ? at::mm(x.t(), x) : at::mm(x, x.t());
    Tensor polynomial = at::addmm(gram, gram, gram, kB, kC);
    polynomial.diagonal().add_(kA);
    return tall ? at::mm(x, polynomial) : at::mm(polynomial, x);
}

}  // namespace

void adamw_update(const AdamWStep& step, std::int64_t count, const float* gradient, float* value, float* exp_avg,
                  float* exp_avg_sq) {
    const auto scalar = [](double number) { return static_cast<float>(number); };
    in_chunks(count, kChunk, [&](std::int64_t begin, std::int64_t size) {
        const Tensor g = view(gradient + begin, {size}) * scalar(step.gradient_scale);
        const Tensor m = view(exp_avg + begin, {size});
        const Tensor v = view(exp_avg_sq + begin, {size});
        m.mul_(scalar(step.beta1)).add_(g * scalar(1.0 - step.beta1));
        v.mul_(scalar(step.beta2)).add_((g * g).mul_(scalar(1.0 - step.beta2)));
        const Tensor root = v.sqrt().mul_(scalar(1.0 / std::sqrt(step.bias_correction2))).add_(scalar(step.epsilon));
        view(value + begin, {size})
            .mul_(scalar(1.0 - step.learning_rate * step.weight_decay))
            .sub_((m / root).mul_(scalar(step.learning_rate / step.bias_correction1)));
    });
}

double sum_of_squares(const float* values, std::int64_t count) {
    std::vector<double> blocks(static_cast<std::size_t>((count + kBlock - 1) / kBlock));
    block_sums_of_squares(values, count, kBlock, blocks.data());
    double sum = 0;
    for (const double block : blocks) sum += block;
    return sum;
}

void block_sums_of_squares(const float* x, std::int64_t count, std::int64_t block, double* sums) {
    const std::int64_t whole = count / block;
    const std::int64_t at_once = std::max<std::int64_t>(1, kChunk / block);
    const Tensor results = at::empty({(count + block - 1) / block}, float_options().dtype(at::kDouble));
    in_chunks(whole, at_once, [&](std::int64_t begin, std::int64_t rows) {
        const Tensor terms = view(x + begin * block, {rows, block}).to(at::kDouble).square_();
        results.narrow(0, begin, rows).copy_(row_sums(terms));
    });
    if (const std::int64_t rest = count - whole * block; rest > 0)
        results.narrow(0, whole, 1).copy_(row_sums(view(x + whole * block, {1, rest}).to(at::kDouble).square_()));
    to_host(results, {sums, static_cast<std::size_t>(results.numel())});
}

void muon_momentum(const MuonStep& step, std::int64_t count, const float* gradient, float* buffer, float* update) {
    const auto momentum = static_cast<float>(step.momentum);
    in_chunks(count, kChunk, [&](std::int64_t begin, std::int64_t size) {
        const Tensor g = view(gradient + begin, {size}) * static_cast<float>(step.gradient_scale);
        const Tensor average = view(buffer + begin, {size}).mul_(momentum).add_(g);
        view(update + begin, {size}).copy_((average * momentum).add_(g));
    });
}

void orthogonalise(std::int64_t rows, std::int64_t cols, float* g) {
    const Tensor place = view(g, {rows, cols});
    const double divisor = std::sqrt(sum_of_squares(g, rows * cols)) + kNormEpsilon;
    Tensor x = place.to(at::kDouble).div_(divisor).to(at::kFloat);
    for (int step = 0; step < kNewtonSchulzSteps; ++step) x = newton_schulz(x);
    place.copy_(x);
}

void muon_apply(const MuonStep& step, double scale, std::int64_t count, const float* direction, float* value) {
    const auto keep = static_cast<float>(1.0 - step.learning_rate * step.weight_decay);
    const auto rate = static_cast<float>(step.learning_rate * scale);
    in_chunks(count, kChunk, [&](std::int64_t begin, std::int64_t size) {
        view(value + begin, {size}).mul_(keep).sub_(view(direction + begin, {size}) * rate);
    });
}

}  // namespace kiban::worker::aten
