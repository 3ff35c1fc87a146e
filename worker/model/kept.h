// SPDX-License-Identifier: Apache-2.0
// What an autograd function keeps for its backward pass besides tensors, typed. For the sources that define such
// functions; includes LibTorch.
#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "worker/torch_compat.h"

namespace kiban::worker {

template <typename Value>
struct Kept final : torch::CustomClassHolder {
    explicit Kept(Value kept) : value(std::move(kept)) {}
    Value value;
};

template <typename Value>
void keep(torch::autograd::AutogradContext* context, Value value) {
    context->saved_data["kept"] = c10::IValue::make_capsule(c10::make_intrusive<Kept<Value>>(std::move(value)));
}

template <typename Value>
Value& kept(torch::autograd::AutogradContext* context) {
    return dynamic_cast<Kept<Value>&>(*context->saved_data["kept"].toCapsule()).value;
}

/// An argument of apply() that may be undefined.
inline OptionalTensor optional(const at::Tensor& tensor) {
    return tensor.defined() ? OptionalTensor(tensor) : OptionalTensor();
}

}  // namespace kiban::worker
