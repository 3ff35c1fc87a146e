// SPDX-License-Identifier: Apache-2.0
// Norms of the parameters, and of what one update changes in them, by kind of tensor: taken while the update runs, a
// block at a time, from what this worker alone stores and counts, so that the sums over the world are the model's.
//
// The update's bits stay as they are: an element's depend on its own inputs alone. One thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "checkpoint/placement.h"
#include "monitoring/model_health.h"
#include "worker/model/parameters.h"
#include "worker/parallel/zero_sharding.h"

namespace kiban::worker {

using monitoring::kTensorGroups;

/// Index into kTensorGroups; biases go with their matrix. InternalError naming a tensor that is in no group.
std::size_t tensor_group(std::string_view name);

struct UpdateNorms {                                        // sums of squares of this worker's share
    std::array<double, kTensorGroups.size()> parameters{};  // after the update, by group
    std::array<double, kTensorGroups.size()> changes{};     // of it
    double second_moments = 0;                              // AdamW's exp_avg_sq
    double adamws = 0;                                      // elements that AdamW updates
};

class UpdateWatch {
  public:
    /// All must outlive it. Sums are added to `norms`.
    UpdateWatch(const Parameters& parameters, std::vector<OwnedPiece> stored, int tensor_rank, UpdateNorms& norms);

    using Apply = std::function<void(const checkpoint::Part& range)>;              // within the bucket
    using SecondMoments = std::function<const float*(std::int64_t from_element)>;  // within the bucket

    /// Calls apply for parts that make up `range` of the bucket, which lies in entry `index`, and adds what it changes
    /// in the values of `piece`. `second_moments` where the entry is AdamW's.
    void run(const OwnedPiece& piece, std::size_t index, const checkpoint::Part& range, const Apply& apply,
             const SecondMoments& second_moments = {});

  private:
    static constexpr std::int64_t kBlock = std::int64_t{1} << 18;  // elements: 1 MiB

    checkpoint::Part counted(const OwnedPiece& piece, const ParameterEntry& entry, const checkpoint::Part& range) const;

    const Parameters& parameters_;
    std::vector<OwnedPiece> stored_;  // by bucket
    int tensor_rank_;
    UpdateNorms& norms_;
    std::vector<float> before_;
    std::vector<float> after_;
};

}  // namespace kiban::worker
