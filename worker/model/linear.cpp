// SPDX-License-Identifier: Apache-2.0
#include "worker/model/linear.h"

#include "worker/model/functions.h"

namespace kiban::worker {

namespace {

class DenseLinear final : public Linear {
  public:
    DenseLinear(ParameterView weight, ParameterView bias) : weight_(std::move(weight)), bias_(std::move(bias)) {}

    at::Tensor forward(const at::Tensor& x) override { return linear(x, weight_, bias_, {}, LinearResult::activation); }
    at::Tensor forward_add(const at::Tensor& x, const at::Tensor& residual) override {
        return linear(x, weight_, bias_, residual);
    }

  private:
    ParameterView weight_;
    ParameterView bias_;
};

}  // namespace

std::unique_ptr<Linear> DenseLinearFactory::make(LinearCut, const std::vector<std::string>& names, bool has_bias) {
    ParameterView bias;
    if (has_bias) bias = ParameterView(parameters_, names.front() + ".bias", names.back() + ".bias");
    return std::make_unique<DenseLinear>(
        ParameterView(parameters_, names.front() + ".weight", names.back() + ".weight"), std::move(bias));
}

}  // namespace kiban::worker
