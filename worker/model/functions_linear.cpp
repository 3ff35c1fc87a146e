// SPDX-License-Identifier: Apache-2.0
// The functions of functions.h that multiply with a matrix of the model.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <utility>

#include "worker/kernels/cross_entropy.h"
#include "worker/kernels/gemm_bf16.h"
#include "worker/kernels/linear.h"
#include "worker/kernels/reduce.h"
#include "worker/model/functions.h"
#include "worker/model/kept.h"
#include "worker/model/tensors.h"

namespace kiban::worker {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

constexpr std::int64_t kLogitBytes = std::int64_t{128} << 20;  // of one chunk of rows in head_loss

struct Linear : torch::autograd::Function<Linear> {
    struct Saved {
        ParameterView weight, bias;
        bool has_residual;
        LinearResult result;
        bool wants_dx = false;
        bool took_bf16 = false;
    };

    static LinearShape shape(const Tensor& x, const ParameterView& weight) {
        return {.rows = x.size(0), .in = weight.size(1), .out = weight.size(0)};
    }

    static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor&, const OptionalTensor&,
                          const OptionalTensor& residual, Saved saved) {
        const LinearShape sizes = shape(x, saved.weight);
        KIBAN_CHECK(x.size(1) == sizes.in, "linear layer of [{}, {}]: its input has {} features", sizes.out, sizes.in,
                    x.size(1));
        saved.wants_dx = x.requires_grad();
        saved.took_bf16 = is_bf16(x);
        const float* bias = saved.bias.data();
        const float* added = residual ? floats(*residual) : nullptr;
        Tensor y;
        if (saved.weight.precision() == Precision::bf16) {
            const Tensor multiplied = in_bf16(x);
            const Bf16* weight = saved.weight.rounded_data();
            if (saved.result == LinearResult::activation) {
                KIBAN_CHECK(!residual, "add a residual to an activation of [{}, {}]", sizes.rows, sizes.out);
                y = empty<Bf16>(sizes.rows, sizes.out);
                linear_forward(sizes, values_of<Bf16>(multiplied), weight, bias, values_of<Bf16>(y));
            } else {
                y = empty(sizes.rows, sizes.out);
                linear_forward(sizes, values_of<Bf16>(multiplied), weight, bias, added, floats(y));
            }
            context->save_for_backward({multiplied});
        } else {
            y = empty(sizes.rows, sizes.out);
            linear_forward(sizes, floats(x), saved.weight.data(), bias, added, floats(y));
            context->save_for_backward({x});
        }
        keep(context, std::move(saved));
        return y;
    }

    static Tensor backward_in_bf16(const Saved& saved, const Tensor& x, const Tensor& dy) {
        const LinearShape sizes = shape(x, saved.weight);
        if (const Accumulator bias = saved.bias.accumulator(); bias.sums != nullptr) {
            with_element_of(
                dy, [&](auto element) { column_sums(sizes.rows, sizes.out, values_of<decltype(element)>(dy), bias); });
        }
        const Tensor multiplied = in_bf16(dy);
        const Bf16* gradient = values_of<Bf16>(multiplied);
        linear_backward_weight(sizes, values_of<Bf16>(x), gradient, saved.weight.accumulator());
        if (!saved.wants_dx) return {};
        const Bf16* weight = saved.weight.rounded_data();
        Tensor dx = saved.took_bf16 ? empty<Bf16>(sizes.rows, sizes.in) : empty(sizes.rows, sizes.in);
        with_element_of(dx, [&](auto element) {
            linear_backward_input(sizes, gradient, weight, values_of<decltype(element)>(dx));
        });
        return dx;
    }

    static Tensor backward_in_fp32(const Saved& saved, const Tensor& x, const Tensor& dy) {
        const LinearShape sizes = shape(x, saved.weight);
        linear_backward_weight(sizes, floats(x), floats(dy), saved.weight.accumulator(), saved.bias.accumulator());
        if (!saved.wants_dx) return {};
        Tensor dx = empty(sizes.rows, sizes.in);
        linear_backward_input(sizes, floats(dy), saved.weight.data(), floats(dx));
        return dx;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const Saved& saved = kept<Saved>(context);
        const Tensor x = context->get_saved_variables()[0];
        const Tensor dy = gradients[0].contiguous();
        const Tensor dx = is_bf16(x) ? backward_in_bf16(saved, x, dy) : backward_in_fp32(saved, x, dy);
        return {dx, Tensor(), Tensor(), saved.has_residual ? dy : Tensor(), Tensor()};
    }
};

struct HeadInputs {
    ParameterView weight;
    std::span<const std::int64_t> targets;
    double scale;
    std::span<double> losses;
    bool differentiate;
    double z_loss;
    std::int64_t* first_choices;
};

// The products of a chunk of rows with the head's matrix.
struct HeadProducts {
    HeadProducts(const Tensor& x, const ParameterView& weight) : weight_(weight) { x_ = bf16() ? in_bf16(x) : x; }

    bool bf16() const { return weight_.precision() == Precision::bf16; }

    void logits(const LinearShape& shape, std::int64_t first, float* logits) const {
        if (bf16())
            linear_forward(shape, values_of<Bf16>(x_) + first * shape.in, weight_.rounded_data(), nullptr, nullptr,
                           logits);
        else
            linear_forward(shape, floats(x_) + first * shape.in, weight_.data(), nullptr, nullptr, logits);
    }

    /// Overwrites the gradient of the logits.
    void backward(const LinearShape& shape, std::int64_t first, float* dlogits, float* dx) const {
        const Accumulator sums = weight_.accumulator();
        if (!bf16()) {
            linear_backward_input(shape, dlogits, weight_.data(), dx);
            linear_backward_weight(shape, floats(x_) + first * shape.in, dlogits, sums, {});
            return;
        }
        const Bf16* gradient = round_rows_in_place(shape.rows, shape.out, dlogits);
        const std::int64_t stride = 2 * shape.out;
        gemm_bf16(shape.rows, shape.in, shape.out, {gradient, stride}, {weight_.rounded_data(), shape.in}, false, dx,
                  shape.in);
        if (sums.sums == nullptr) return;
        gemm_bf16(shape.out, shape.in, shape.rows, transposed(gradient, stride),
                  {values_of<Bf16>(x_) + first * shape.in, shape.in}, sums.beta != 0.0F, sums.sums, shape.in);
    }

  private:
    const ParameterView& weight_;
    Tensor x_;
};

struct HeadLoss : torch::autograd::Function<HeadLoss> {
    static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor&, const HeadInputs& inputs) {
        const std::int64_t rows = x.size(0);
        const std::int64_t width = x.size(1);
        const std::int64_t vocabulary = inputs.weight.size(0);
        const std::int64_t chunk = std::clamp<std::int64_t>(kLogitBytes / (4 * vocabulary), 1, rows);
        const HeadProducts products(x, inputs.weight);
        Tensor logits = empty(chunk, vocabulary);
        Tensor dx = inputs.differentiate ? at::empty_like(x) : Tensor();
        std::int64_t right = 0;
        for (std::int64_t first = 0; first < rows; first += chunk) {
            const LinearShape shape = {.rows = std::min(chunk, rows - first), .in = width, .out = vocabulary};
            const auto begin = static_cast<std::size_t>(first);
            const auto count = static_cast<std::size_t>(shape.rows);
            products.logits(shape, first, floats(logits));
            const auto targets = inputs.targets.subspan(begin, count);
            const auto losses = inputs.losses.subspan(begin, count);
            if (!inputs.differentiate) {
                right += cross_entropy(vocabulary, floats(std::as_const(logits)), targets, losses);
                continue;
            }
            cross_entropy_with_gradient(vocabulary, static_cast<float>(inputs.scale), floats(logits), targets, losses,
                                        inputs.z_loss);
            products.backward(shape, first, floats(logits), floats(dx) + first * width);
        }
        double sum = 0;
        for (const double loss : inputs.losses) sum += loss;
        if (inputs.first_choices != nullptr && !inputs.differentiate) *inputs.first_choices = right;
        if (inputs.differentiate) context->save_for_backward({dx});
        return at::scalar_tensor(sum * inputs.scale, at::kDouble);
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const auto gradient = gradients[0].item<double>();
        KIBAN_CHECK(gradient == 1.0,
                    "backward through head_loss with an outer gradient of {}: expected 1, the scale is its argument",
                    gradient);
        return {context->get_saved_variables()[0], Tensor(), Tensor()};
    }
};

}  // namespace

Tensor linear(const Tensor& x, const ParameterView& weight, const ParameterView& bias, const Tensor& residual,
              LinearResult result) {
    return Linear::apply(x, weight.leaf(), optional(bias.leaf()), optional(residual),
                         Linear::Saved{weight, bias, residual.defined(), result});
}

Tensor head_loss(const Tensor& x, const ParameterView& weight, std::span<const std::int64_t> targets, double scale,
                 std::span<double> losses, double z_loss, std::int64_t* first_choices) {
    const auto rows = static_cast<std::size_t>(x.size(0));
    KIBAN_CHECK(targets.size() == rows && losses.size() == rows,
                "loss of {} rows: got {} targets and room for {} losses", rows, targets.size(), losses.size());
    for (const std::int64_t target : targets)
        KIBAN_CHECK(target >= -1 && target < weight.size(0), "loss of target {}: outside the vocabulary of {}", target,
                    weight.size(0));
    const bool differentiate = at::GradMode::is_enabled() && x.requires_grad();
    return HeadLoss::apply(x, weight.leaf(),
                           HeadInputs{weight, targets, scale, losses, differentiate, z_loss, first_choices});
}

}  // namespace kiban::worker
