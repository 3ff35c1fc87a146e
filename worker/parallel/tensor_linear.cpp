// SPDX-License-Identifier: Apache-2.0
#include "worker/parallel/tensor_linear.h"

#include <ATen/ATen.h>

#include "monitoring/error.h"
#include "worker/device/memory.h"
#include "worker/device/tensors.h"
#include "worker/kernels/reduce.h"
#include "worker/model/functions.h"
#include "worker/model/kept.h"

namespace kiban::worker {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

std::span<float> floats_of(const Tensor& x) { return {x.data_ptr<float>(), static_cast<std::size_t>(x.numel())}; }

// [rows here, D] -> [all rows, D], rank after rank.
Tensor gather_rows(const Tensor& x, const Group& group) {
    Tensor all = at::empty({x.size(0) * group.size(), x.size(1)}, float_options());
    copy_floats(x.data_ptr<float>(), x.numel(), all.data_ptr<float>() + group.rank() * x.numel());
    group.all_gather(floats_of(all));
    return all;
}

// [all rows, D], a term of the sum on each rank -> the sum of the rows here. Overwrites `terms`.
Tensor sum_scatter_rows(const Tensor& terms, const Group& group) {
    KIBAN_CHECK(terms.size(0) % group.size() == 0, "share {} tokens out to {} tensor ranks", terms.size(0),
                group.size());
    group.reduce_scatter_sum(floats_of(terms));
    const std::int64_t rows = terms.size(0) / group.size();
    return terms.narrow(0, group.rank() * rows, rows).clone();
}

struct GatherRows : torch::autograd::Function<GatherRows> {
    static Tensor forward(AutogradContext* context, const Tensor& x, const Group& group) {
        keep(context, group);
        return gather_rows(x, group);
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        return {sum_scatter_rows(gradients[0].clone(at::MemoryFormat::Contiguous), kept<Group>(context)), Tensor()};
    }
};

struct SumScatterRows : torch::autograd::Function<SumScatterRows> {
    struct Saved {
        Group group;
        ParameterView bias;
        bool has_residual;
    };

    static Tensor forward(AutogradContext* context, const Tensor& terms, const OptionalTensor&,
                          const OptionalTensor& residual, const Saved& saved) {
        Tensor y = sum_scatter_rows(terms.clone(), saved.group);
        if (saved.bias.defined()) add_to_rows(y.size(0), y.size(1), saved.bias.data(), y.data_ptr<float>());
        if (residual) y.add_(*residual);
        keep(context, saved);
        return y;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const Saved& saved = kept<Saved>(context);
        const Tensor dy = gradients[0].contiguous();
        if (const Accumulator sums = saved.bias.accumulator(); sums.sums != nullptr)
            column_sums(dy.size(0), dy.size(1), dy.data_ptr<float>(), sums);
        return {gather_rows(dy, saved.group), Tensor(), saved.has_residual ? dy : Tensor(), Tensor()};
    }
};

class AllToSharded final : public Linear {
  public:
    AllToSharded(ParameterView weight, ParameterView bias, Group group)
        : weight_(std::move(weight)), bias_(std::move(bias)), group_(std::move(group)) {}

    Tensor forward(const Tensor& x) override {
        return linear(GatherRows::apply(x, group_), weight_, bias_, {}, LinearResult::activation);
    }
    Tensor forward_add(const Tensor&, const Tensor&) override {
        throw InternalError("add a residual of whole features to the features of one tensor rank");
    }

  private:
    ParameterView weight_;
    ParameterView bias_;
    Group group_;
};

class ShardedToAll final : public Linear {
  public:
    ShardedToAll(ParameterView weight, ParameterView bias, Group group)
        : weight_(std::move(weight)), bias_(std::move(bias)), group_(std::move(group)) {}

    Tensor forward(const Tensor& x) override { return forward_add(x, {}); }
    Tensor forward_add(const Tensor& x, const Tensor& residual) override {
        return SumScatterRows::apply(linear(x, weight_, {}), optional(bias_.leaf()), optional(residual),
                                     SumScatterRows::Saved{group_, bias_, residual.defined()});
    }

  private:
    ParameterView weight_;
    ParameterView bias_;
    Group group_;
};

}  // namespace

std::unique_ptr<Linear> TensorParallelLinears::make(LinearCut cut, const std::vector<std::string>& names,
                                                    bool has_bias) {
    ParameterView bias;
    if (has_bias) bias = ParameterView(parameters_, names.front() + ".bias", names.back() + ".bias");
    ParameterView weight(parameters_, names.front() + ".weight", names.back() + ".weight");
    if (cut == LinearCut::split_outputs)
        return std::make_unique<AllToSharded>(std::move(weight), std::move(bias), group_);
    return std::make_unique<ShardedToAll>(std::move(weight), std::move(bias), group_);
}

}  // namespace kiban::worker
