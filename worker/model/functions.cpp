// SPDX-License-Identifier: Apache-2.0
#include "worker/model/functions.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "monitoring/error.h"
#include "worker/device/tensors.h"
#include "worker/kernels/activation.h"
#include "worker/kernels/embedding.h"
#include "worker/kernels/norm.h"
#include "worker/model/kept.h"
#include "worker/model/tensors.h"

namespace kiban::worker {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

struct Embed : torch::autograd::Function<Embed> {
    struct Saved {
        Tokens tokens;
        ParameterView table, positions;

        /// Rows of the positions' table that the tokens ask for; none where their places in the row do.
        std::vector<std::int64_t> places() const { return {tokens.positions.begin(), tokens.positions.end()}; }
        bool by_document() const { return positions.defined() && !tokens.positions.empty(); }
    };

    static Tensor forward(AutogradContext* context, const Tensor&, const OptionalTensor&, const Saved& saved) {
        const Tokens& tokens = saved.tokens;
        const std::int64_t width = saved.table.size(1);
        Tensor x = empty(static_cast<std::int64_t>(tokens.ids.size()), width);
        const float* by_row = saved.by_document() ? nullptr : saved.positions.data();
        embedding_forward(tokens.ids, tokens.first, tokens.per_row, width, saved.table.data(), by_row, floats(x));
        if (saved.by_document()) add_positions(saved.places(), width, saved.positions.data(), floats(x));
        keep(context, saved);
        return x;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const Saved& saved = kept<Saved>(context);
        const auto& [tokens, table, positions] = saved;
        const std::int64_t width = table.size(1);
        const float* dx = floats(gradients[0]);
        if (const Accumulator sums = table.accumulator(); sums.sums != nullptr)
            embedding_backward(tokens.ids, table.size(0), width, dx, sums);
        if (const Accumulator sums = positions.accumulator(); sums.sums != nullptr) {
            if (saved.by_document())
                embedding_backward(saved.places(), positions.size(0), width, dx, sums);
            else
                positions_backward(tokens.first, static_cast<std::int64_t>(tokens.ids.size()), tokens.per_row,
                                   positions.size(0), width, dx, sums);
        }
        return {Tensor(), Tensor(), Tensor()};
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
        with_element_of(x, [&](auto element) {
            using Element = decltype(element);
            gelu_forward(x.numel(), values_of<Element>(x), values_of<Element>(y));
        });
        context->save_for_backward({x});
        return y;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const Tensor x = context->get_saved_variables()[0];
        const Tensor dy = gradients[0].contiguous();
        Tensor dx = at::empty_like(x);
        with_element_of(x, [&](auto element) {
            using Element = decltype(element);
            gelu_backward(x.numel(), values_of<Element>(x), values_of<Element>(dy), values_of<Element>(dx));
        });
        return {dx};
    }
};

struct SwiGlu : torch::autograd::Function<SwiGlu> {
    static Tensor forward(AutogradContext* context, const Tensor& gate_up) {
        Tensor y = at::empty({gate_up.size(0), gate_up.size(1) / 2}, gate_up.options());
        with_element_of(gate_up, [&](auto element) {
            using Element = decltype(element);
            swiglu_forward(y.size(0), y.size(1), values_of<Element>(gate_up), values_of<Element>(y));
        });
        context->save_for_backward({gate_up});
        return y;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const Tensor gate_up = context->get_saved_variables()[0];
        const Tensor dy = gradients[0].contiguous();
        Tensor dgate_up = at::empty_like(gate_up);
        with_element_of(gate_up, [&](auto element) {
            using Element = decltype(element);
            swiglu_backward(dy.size(0), dy.size(1), values_of<Element>(gate_up), values_of<Element>(dy),
                            values_of<Element>(dgate_up));
        });
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
        with_element_of(qkv, [&](auto element) {
            rotate(*saved.table, Turn::forward, qkv.size(0), saved.tokens_per_row, saved.heads, qkv.size(1),
                   values_of<decltype(element)>(turned));
        });
        keep(context, saved);
        return turned;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const auto& [table, tokens_per_row, heads] = kept<Saved>(context);
        Tensor turned = gradients[0].clone(at::MemoryFormat::Contiguous);
        with_element_of(turned, [&, &rotary = *table, per_row = tokens_per_row, count = heads](auto element) {
            rotate(rotary, Turn::backward, turned.size(0), per_row, count, turned.size(1),
                   values_of<decltype(element)>(turned));
        });
        return {turned, Tensor()};
    }
};

struct Attention : torch::autograd::Function<Attention> {
    static Tensor forward(AutogradContext* context, const Tensor& qkv, const AttentionShape& shape) {
        Tensor out = at::empty({qkv.size(0), shape.out_width()}, qkv.options());
        Tensor logsumexp = at::empty({shape.batch, shape.heads, shape.tokens}, float_options());
        with_element_of(qkv, [&](auto element) {
            using Element = decltype(element);
            attention_forward(shape, values_of<Element>(qkv), values_of<Element>(out), floats(logsumexp));
        });
        context->save_for_backward({qkv, out, logsumexp});
        keep(context, shape);
        return out;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const AttentionShape& shape = kept<AttentionShape>(context);
        const variable_list saved = context->get_saved_variables();
        const Tensor dout = gradients[0].contiguous();
        Tensor dqkv = at::empty_like(saved[0]);
        with_element_of(dqkv, [&](auto element) {
            using Element = decltype(element);
            attention_backward(shape, values_of<Element>(saved[0]), values_of<Element>(saved[1]), floats(saved[2]),
                               values_of<Element>(dout), values_of<Element>(dqkv));
        });
        return {dqkv, Tensor()};
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

Tensor on_backward(const Tensor& x, std::function<void()> call) { return OnBackward::apply(x, std::move(call)); }

Tensor recompute(const Tensor& x, std::function<Tensor(const Tensor&)> run) {
    if (!at::GradMode::is_enabled()) return run(x);
    return Recompute::apply(x, std::move(run));
}

}  // namespace kiban::worker
