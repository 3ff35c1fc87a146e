// SPDX-License-Identifier: Apache-2.0
// One matrix or vector of the model as the autograd functions meet it: a leaf tensor over the flat values, and where
// its gradient goes.
//
// Gradients never travel through autograd: a backward function adds them to the flat buffer and returns an undefined
// tensor for the leaf. The leaf only tells autograd whether a gradient is wanted. Lives no longer than its Parameters.
// Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <string>

#include "worker/kernels/accumulator.h"

namespace kiban::worker {

class Parameters;

class ParameterView {
  public:
    ParameterView() = default;
    /// Neighbours `first` .. `last` of the flat buffer, stacked along dimension 0.
    ParameterView(Parameters& parameters, const std::string& first, const std::string& last);

    bool defined() const { return value_.defined(); }
    const at::Tensor& value() const { return value_; }
    const float* data() const { return defined() ? value_.data_ptr<float>() : nullptr; }
    /// For one addition to the gradient; the sums are null when the leaf wants none.
    Accumulator accumulator() const;

  private:
    at::Tensor value_;
    Parameters* parameters_ = nullptr;
    std::size_t first_ = 0;
    std::size_t last_ = 0;
};

}  // namespace kiban::worker
