// SPDX-License-Identifier: Apache-2.0
#include "worker/model/functions.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "monitoring/error.h"
#include "worker/kernels/activation.h"
#include "worker/kernels/cross_entropy.h"
#include "worker/kernels/embedding.h"
#include "worker/kernels/gemm.h"
#include "worker/kernels/linear.h"
#include "worker/kernels/norm.h"
#include "worker/model/kept.h"

namespace kiban::worker {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

constexpr std::int64_t kLogitBytes = std::int64_t{128} << 20;  // of one chunk of rows in head_loss

Tensor empty(std::int64_t rows, std::int64_t columns) { return at::empty({rows, columns}, at::kFloat); }

/// The floats of an activation, after checking that the CPU kernels can read it.
const float* floats(const Tensor& x) {
    KIBAN_CHECK(x.is_cpu() && x.scalar_type() == at::kFloat && x.is_contiguous(),
                "run a CPU kernel on a {} tensor of {} on {}: expected a contiguous float tensor on the CPU",
                x.is_contiguous() ? "contiguous" : "strided", c10::toString(x.scalar_type()), x.device().str());
    return x.data_ptr<float>();
}

float* floats(Tensor& x) { return const_cast<float*>(floats(std::as_const(x))); }

struct Embed : torch::autograd::Function<Embed> {
    struct Saved {
        Tokens tokens;
        ParameterView table, positions;
    };

    static Tensor forward(AutogradContext* context, const Tensor&, const OptionalTensor&, const Saved& saved) {
        const Tokens& tokens = saved.tokens;
        const std::int64_t width = saved.table.size(1);
        Tensor x = empty(static_cast<std::int64_t>(tokens.ids.size()), width);
        embedding_forward(tokens.ids, tokens.first, tokens.per_row, width, saved.table.data(), saved.positions.data(),
                          floats(x));
        keep(context, saved);
        return x;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const auto& [tokens, table, positions] = kept<Saved>(context);
        const std::int64_t width = table.size(1);
        const float* dx = floats(gradients[0]);
        if (const Accumulator sums = table.accumulator(); sums.sums != nullptr)
            embedding_backward(tokens.ids, table.size(0), width, dx, sums);
        if (const Accumulator sums = positions.accumulator(); sums.sums != nullptr)
            positions_backward(tokens.first, static_cast<std::int64_t>(tokens.ids.size()), tokens.per_row,
                               positions.size(0), width, dx, sums);
        return {Tensor(), Tensor(), Tensor()};
    }
};

struct Linear : torch::autograd::Function<Linear> {
    struct Saved {
        ParameterView weight, bias;
        bool has_residual;
    };

    static LinearShape shape(const Tensor& x, const ParameterView& weight) {
        return {.rows = x.size(0), .in = weight.size(1), .out = weight.size(0)};
    }

    static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor&, const OptionalTensor&,
                          const OptionalTensor& residual, const Saved& saved) {
        const LinearShape sizes = shape(x, saved.weight);
        KIBAN_CHECK(x.size(1) == sizes.in, "linear layer of [{}, {}]: its input has {} features", sizes.out, sizes.in,
                    x.size(1));
        Tensor y = empty(sizes.rows, sizes.out);
        linear_forward(sizes, floats(x), saved.weight.data(), saved.bias.data(), residual ? floats(*residual) : nullptr,
                       floats(y));
        context->save_for_backward({x});
        keep(context, saved);
        return y;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const auto& [weight, bias, has_residual] = kept<Saved>(context);
        const Tensor x = context->get_saved_variables()[0];
        const Tensor dy = gradients[0].contiguous();
        const LinearShape sizes = shape(x, weight);
        linear_backward_weight(sizes, floats(x), floats(dy), weight.accumulator(), bias.accumulator());
        Tensor dx;
        if (x.requires_grad()) {
            dx = empty(sizes.rows, sizes.in);
            linear_backward_input(sizes, floats(dy), weight.data(), floats(dx));
        }
        return {dx, Tensor(), Tensor(), has_residual ? dy : Tensor(), Tensor()};
    }
};

struct Norm : torch::autograd::Function<Norm> {
    static NormShape shape(const Tensor& x, const NormParameters& parameters) {
        return {
            .rows = x.size(0), .width = x.size(1), .centred = parameters.bias.defined(), .epsilon = parameters.epsilon};
    }

    static variable_list forward(AutogradContext* context, const Tensor& x, const Tensor&, const OptionalTensor&,
                                 const NormParameters& parameters) {
        Tensor y = at::empty_like(x);
        Tensor statistics = empty(x.size(0), 2);
        norm_forward(shape(x, parameters), floats(x), parameters.weight.data(), parameters.bias.data(), floats(y),
                     floats(statistics));
        context->save_for_backward({x, statistics});
        keep(context, parameters);
        context->set_materialize_grads(false);
        return {x, y};
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const NormParameters& parameters = kept<NormParameters>(context);
        const variable_list saved = context->get_saved_variables();
        const Tensor& x = saved[0];
        if (!gradients[1].defined()) return {gradients[0], Tensor(), Tensor(), Tensor()};
        const Tensor passing = gradients[0].defined() ? gradients[0].contiguous() : Tensor();
        const Tensor dy = gradients[1].contiguous();
        Tensor dx = at::empty_like(x);
        norm_backward(shape(x, parameters), floats(x), parameters.weight.data(), floats(saved[1]), floats(dy),
                      passing.defined() ? floats(passing) : nullptr, floats(dx), parameters.weight.accumulator(),
                      parameters.bias.accumulator());
        return {dx, Tensor(), Tensor(), Tensor()};
    }
};

struct Gelu : torch::autograd::Function<Gelu> {
    static Tensor forward(AutogradContext* context, const Tensor& x) {
        Tensor y = at::empty_like(x);
        gelu_forward(x.numel(), floats(x), floats(y));
        context->save_for_backward({x});
        return y;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const Tensor x = context->get_saved_variables()[0];
        const Tensor dy = gradients[0].contiguous();
        Tensor dx = at::empty_like(x);
        gelu_backward(x.numel(), floats(x), floats(dy), floats(dx));
        return {dx};
    }
};

struct SwiGlu : torch::autograd::Function<SwiGlu> {
    static Tensor forward(AutogradContext* context, const Tensor& gate_up) {
        Tensor y = empty(gate_up.size(0), gate_up.size(1) / 2);
        swiglu_forward(y.size(0), y.size(1), floats(gate_up), floats(y));
        context->save_for_backward({gate_up});
        return y;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const Tensor gate_up = context->get_saved_variables()[0];
        const Tensor dy = gradients[0].contiguous();
        Tensor dgate_up = at::empty_like(gate_up);
        swiglu_backward(dy.size(0), dy.size(1), floats(gate_up), floats(dy), floats(dgate_up));
        return {dgate_up};
    }
};

struct Rotary : torch::autograd::Function<Rotary> {
    struct Saved {
        std::shared_ptr<const RotaryTable> table;
        std::int64_t tokens_per_row, heads;
    };

    static Tensor forward(AutogradContext* context, const Tensor& qkv, const Saved& saved) {
        Tensor turned = qkv.detach();
        rotate(*saved.table, Turn::forward, qkv.size(0), saved.tokens_per_row, saved.heads, qkv.size(1),
               floats(turned));
        keep(context, saved);
        return turned;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const auto& [table, tokens_per_row, heads] = kept<Saved>(context);
        Tensor turned = gradients[0].clone(at::MemoryFormat::Contiguous);
        rotate(*table, Turn::backward, turned.size(0), tokens_per_row, heads, turned.size(1), floats(turned));
        return {turned, Tensor()};
    }
};

struct Attention : torch::autograd::Function<Attention> {
    static Tensor forward(AutogradContext* context, const Tensor& qkv, const AttentionShape& shape) {
        Tensor out = empty(qkv.size(0), shape.out_width());
        Tensor logsumexp = at::empty({shape.batch, shape.heads, shape.tokens}, at::kFloat);
        attention_forward(shape, floats(qkv), floats(out), floats(logsumexp));
        context->save_for_backward({qkv, out, logsumexp});
        keep(context, shape);
        return out;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const AttentionShape& shape = kept<AttentionShape>(context);
        const variable_list saved = context->get_saved_variables();
        const Tensor dout = gradients[0].contiguous();
        Tensor dqkv = at::empty_like(saved[0]);
        attention_backward(shape, floats(saved[0]), floats(saved[1]), floats(saved[2]), floats(dout), floats(dqkv));
        return {dqkv, Tensor()};
    }
};

struct HeadLoss : torch::autograd::Function<HeadLoss> {
    struct Inputs {
        ParameterView weight;
        std::span<const std::int64_t> targets;
        double scale;
        std::span<double> losses;
        bool differentiate;
        double z_loss;
    };

    static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor&, const Inputs& inputs) {
        const float* weight = inputs.weight.data();
        const std::int64_t rows = x.size(0);
        const std::int64_t width = x.size(1);
        const std::int64_t vocabulary = inputs.weight.size(0);
        const std::int64_t chunk = std::clamp<std::int64_t>(kLogitBytes / (4 * vocabulary), 1, rows);
        Tensor logits = empty(chunk, vocabulary);
        Tensor dx = inputs.differentiate ? at::empty_like(x) : Tensor();
        for (std::int64_t first = 0; first < rows; first += chunk) {
            const LinearShape shape = {.rows = std::min(chunk, rows - first), .in = width, .out = vocabulary};
            const auto begin = static_cast<std::size_t>(first);
            const auto count = static_cast<std::size_t>(shape.rows);
            const float* chunk_x = floats(x) + first * width;
            linear_forward(shape, chunk_x, weight, nullptr, nullptr, floats(logits));
            const auto targets = inputs.targets.subspan(begin, count);
            const auto losses = inputs.losses.subspan(begin, count);
            if (!inputs.differentiate) {
                cross_entropy(vocabulary, floats(std::as_const(logits)), targets, losses);
                continue;
            }
            cross_entropy_with_gradient(vocabulary, static_cast<float>(inputs.scale), floats(logits), targets, losses,
                                        inputs.z_loss);
            linear_backward_input(shape, floats(std::as_const(logits)), weight, floats(dx) + first * width);
            linear_backward_weight(shape, chunk_x, floats(std::as_const(logits)), inputs.weight.accumulator(), {});
        }
        double sum = 0;
        for (const double loss : inputs.losses) sum += loss;
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

struct OnBackward : torch::autograd::Function<OnBackward> {
    static Tensor forward(AutogradContext* context, const Tensor& x, std::function<void()> call) {
        keep(context, std::move(call));
        return x;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        kept<std::function<void()>>(context)();
        return {gradients[0], Tensor()};
    }
};

struct Recompute : torch::autograd::Function<Recompute> {
    using Run = std::function<Tensor(const Tensor&)>;

    static Tensor forward(AutogradContext* context, const Tensor& x, Run run) {
        Tensor y = run(x);
        context->save_for_backward({x});
        keep(context, std::move(run));
        return y;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const at::AutoGradMode with_gradients(true);
        const Tensor x = context->get_saved_variables()[0].detach().requires_grad_();
        const Tensor y = kept<Run>(context)(x);
        y.backward(gradients[0]);
        return {x.grad(), Tensor()};
    }
};

}  // namespace

Tensor embed(const Tokens& tokens, const ParameterView& table, const ParameterView& positions) {
    const std::int64_t vocabulary = table.size(0);
    for (std::size_t i = 0; i < tokens.ids.size(); ++i)
        KIBAN_CHECK(tokens.ids[i] >= 0 && tokens.ids[i] < vocabulary,
                    "embed token {} of the batch: id {} is outside the vocabulary of {}", i, tokens.ids[i], vocabulary);
    return Embed::apply(table.leaf(), optional(positions.leaf()), Embed::Saved{tokens, table, positions});
}

Tensor linear(const Tensor& x, const ParameterView& weight, const ParameterView& bias, const Tensor& residual) {
    return Linear::apply(x, weight.leaf(), optional(bias.leaf()), optional(residual),
                         Linear::Saved{weight, bias, residual.defined()});
}

std::pair<Tensor, Tensor> norm(const Tensor& x, const NormParameters& parameters) {
    const variable_list outputs =
        Norm::apply(x, parameters.weight.leaf(), optional(parameters.bias.leaf()), parameters);
    return {outputs[0], outputs[1]};
}

Tensor gelu(const Tensor& x) { return Gelu::apply(x); }

Tensor swiglu(const Tensor& gate_up) { return SwiGlu::apply(gate_up); }

Tensor rotary(const Tensor& qkv, const std::shared_ptr<const RotaryTable>& table, std::int64_t tokens_per_row,
              std::int64_t heads) {
    return Rotary::apply(qkv, Rotary::Saved{table, tokens_per_row, heads});
}

Tensor attention(const Tensor& qkv, const AttentionShape& shape) {
    KIBAN_CHECK(qkv.size(0) == shape.batch * shape.tokens && qkv.size(1) == shape.packed_width(),
                "attention of {} x {} tokens, {} + 2 x {} heads of {}: got a packed tensor of [{}, {}]", shape.batch,
                shape.tokens, shape.heads, shape.kv_heads, shape.head_size, qkv.size(0), qkv.size(1));
    return Attention::apply(qkv, shape);
}

Tensor head_loss(const Tensor& x, const ParameterView& weight, std::span<const std::int64_t> targets, double scale,
                 std::span<double> losses, double z_loss) {
    const auto rows = static_cast<std::size_t>(x.size(0));
    KIBAN_CHECK(targets.size() == rows && losses.size() == rows,
                "loss of {} rows: got {} targets and room for {} losses", rows, targets.size(), losses.size());
    for (const std::int64_t target : targets)
        KIBAN_CHECK(target >= -1 && target < weight.size(0), "loss of target {}: outside the vocabulary of {}", target,
                    weight.size(0));
    const bool differentiate = at::GradMode::is_enabled() && x.requires_grad();
    return HeadLoss::apply(x, weight.leaf(), HeadLoss::Inputs{weight, targets, scale, losses, differentiate, z_loss});
}

Tensor on_backward(const Tensor& x, std::function<void()> call) { return OnBackward::apply(x, std::move(call)); }

Tensor recompute(const Tensor& x, std::function<Tensor(const Tensor&)> run) {
    if (!at::GradMode::is_enabled()) return run(x);
    return Recompute::apply(x, std::move(run));
}

}  // namespace kiban::worker
