// SPDX-License-Identifier: Apache-2.0
// One matrix or vector of the model as the autograd functions meet it: where its values stand now, and where its
// gradient goes.
//
// Neither values nor gradients travel through autograd: a function reads data() when it runs, a backward function adds
// to the flat buffer and returns an undefined tensor for the leaf. The leaf is empty and only tells autograd whether a
// gradient is wanted. Lives no longer than its Parameters. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "worker/kernels/accumulator.h"
#include "worker/kernels/bf16.h"
#include "worker/model/precision.h"

namespace kiban::worker {

class Parameters;

class ParameterView {
  public:
    ParameterView() = default;
    /// Neighbours `first` .. `last` of the flat buffer, stacked along dimension 0.
    ParameterView(Parameters& parameters, const std::string& first, const std::string& last);

    bool defined() const { return leaf_.defined(); }
    const at::Tensor& leaf() const { return leaf_; }
    std::int64_t size(std::size_t dim) const { return shape_.at(dim); }
    /// Null when undefined. InternalError when the values are not on this worker now.
    const float* data() const;
    /// What it is multiplied in.
    Precision precision() const;
    /// data() rounded to bf16, where precision() is bf16: rounded once after each change of the values.
    const Bf16* rounded_data() const;
    /// For one addition to the gradient; the sums are null when the leaf wants none.
    Accumulator accumulator() const;

  private:
    at::Tensor leaf_;
    Parameters* parameters_ = nullptr;
    std::size_t first_ = 0;
    std::size_t last_ = 0;
    std::vector<std::int64_t> shape_;
};

}  // namespace kiban::worker
