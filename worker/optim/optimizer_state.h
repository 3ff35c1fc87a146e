// SPDX-License-Identifier: Apache-2.0
// What the optimizer keeps from step to step for the elements that this worker updates: the moving averages of each
// tensor, by the kinds under which checkpoints store them.
//
// The n-th kind of a tensor is its n-th slot: one float an element each. A slot has no gaps between neighbours that
// have it, so an update may run over several tensors. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/placement.h"
#include "worker/device/memory.h"
#include "worker/model/parameters.h"
#include "worker/parallel/zero_sharding.h"

namespace kiban::worker {

/// The elements of the part of a tensor that is here, counted from its first, that lie in a range of its bucket.
std::optional<checkpoint::Part> part_inside(const ParameterEntry& entry, const coordinator::Bucket& bucket,
                                            const checkpoint::Part& range);

class OptimizerState {
  public:
    /// Zeros. `pieces` are those that are updated, one a bucket; `parameters` must outlive it. With `muon`, the tensors
    /// of muon_updates are Muon's; the others are AdamW's.
    OptimizerState(const Parameters& parameters, const std::vector<OwnedPiece>& pieces, bool muon);

    bool is_muons(const ParameterEntry& entry) const;
    /// momentum, or exp_avg and exp_avg_sq: by slot.
    std::span<const std::string_view> kinds_of(const ParameterEntry& entry) const;
    /// Every kind that a tensor of any model may have.
    static std::span<const std::string_view> all_kinds();

    /// State of entry `index` from `element` on, which counts from the bucket's first and lies in the piece.
    float* at(std::size_t slot, std::size_t index, std::int64_t element);
    /// Null where the entry has no state of this kind.
    float* find(std::string_view kind, std::size_t index, std::int64_t element);

    std::uint64_t bytes() const {
        return static_cast<std::uint64_t>(slots_[0].size() + slots_[1].size()) * sizeof(float);
    }
    void reset();

  private:
    const Parameters& parameters_;
    bool muon_;
    // Of each entry and slot: an element's place is shift + its number within the bucket.
    std::vector<std::int64_t> shifts_[2];
    DeviceFloats slots_[2];
};

}  // namespace kiban::worker
