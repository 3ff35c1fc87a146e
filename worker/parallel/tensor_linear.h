// SPDX-License-Identifier: Apache-2.0
// Linear layers cut along the tensor axis, with the tokens shared out between them (Shoeybi et al. 2019, section 3;
// sequence parallelism: Korthikanti et al. 2022, section 4.2.2).
//
// all-to-sharded: every rank's tokens are gathered, and give this rank's features. sharded-to-all: this rank's features
// give a term of every token's outputs; the terms are summed, and each rank keeps its own tokens. Backward, a gather
// becomes a summing scatter and the other way round. The layers communicate, in the order in which the model runs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "worker/comm/group.h"
#include "worker/model/linear.h"

namespace kiban::worker {

class TensorParallelLinears final : public LinearFactory {
  public:
    /// `parameters` hold this rank's parts (coordinator/job/sharding.h) and must outlive the layers.
    TensorParallelLinears(Parameters& parameters, Group tensor_group)
        : parameters_(parameters), group_(std::move(tensor_group)) {}
    std::unique_ptr<Linear> make(LinearCut cut, const std::vector<std::string>& names, bool has_bias) override;

  private:
    Parameters& parameters_;
    Group group_;
};

}  // namespace kiban::worker
