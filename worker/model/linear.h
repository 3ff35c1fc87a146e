// SPDX-License-Identifier: Apache-2.0
// A linear layer as the blocks see it, and the factory that hands them out: the seam at which tensor parallelism
// replaces layers.
//
// A factory may return a layer that holds a slice: `split_outputs` layers (q,k,v and gate,up) then produce this rank's
// features, `split_inputs` layers (o and down) consume them and return full, summed outputs. Blocks read widths from
// the tensors they get. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "worker/model/parameters.h"

namespace kiban::worker {

class Linear {
  public:
    virtual ~Linear() = default;
    /// x [rows, in] -> [rows, out], an activation (LinearResult, model/functions.h).
    virtual at::Tensor forward(const at::Tensor& x) = 0;
    /// residual + the product, in fp32.
    virtual at::Tensor forward_add(const at::Tensor& x, const at::Tensor& residual) = 0;
};

enum class LinearCut { split_outputs, split_inputs };

class LinearFactory {
  public:
    virtual ~LinearFactory() = default;
    /// One layer over the neighbours `names` ("layers.0.attention.q", ...), outputs concatenated in that order.
    virtual std::unique_ptr<Linear> make(LinearCut cut, const std::vector<std::string>& names, bool has_bias) = 0;
};

/// Whole layers over `parameters`, which must outlive them.
class DenseLinearFactory final : public LinearFactory {
  public:
    explicit DenseLinearFactory(Parameters& parameters) : parameters_(parameters) {}
    std::unique_ptr<Linear> make(LinearCut cut, const std::vector<std::string>& names, bool has_bias) override;

  private:
    Parameters& parameters_;
};

}  // namespace kiban::worker
