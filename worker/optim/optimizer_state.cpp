// SPDX-License-Identifier: Apache-2.0
#include "worker/optim/optimizer_state.h"

#include <algorithm>

#include "coordinator/job/inventory.h"
#include "coordinator/job/ownership.h"

namespace kiban::worker {

using checkpoint::Part;
using coordinator::Bucket;

std::optional<Part> part_inside(const ParameterEntry& entry, const Bucket& bucket, const Part& range) {
    return coordinator::elements_inside(entry, bucket, range);
}

OptimizerState::OptimizerState(const Parameters& parameters, const std::vector<OwnedPiece>& pieces, bool muon)
    : parameters_(parameters), muon_(muon) {
    std::int64_t sizes[2] = {0, 0};
    for (const OwnedPiece& piece : pieces) {
        const Bucket& bucket = parameters.layout().buckets[static_cast<std::size_t>(piece.bucket)];
        std::int64_t left_out = 0;  // of the second slot, in this piece
        for (std::size_t i = bucket.first; i <= bucket.last; ++i) {
            const ParameterEntry& entry = parameters.entries()[i];
            shifts_[0].push_back(sizes[0] - piece.range.begin);
            shifts_[1].push_back(sizes[1] - piece.range.begin - left_out);
            if (!is_muons(entry)) continue;
            if (const auto inside = part_inside(entry, bucket, piece.range)) left_out += inside->size();
        }
        sizes[0] += piece.range.size();
        sizes[1] += piece.range.size() - left_out;
    }
    for (const int slot : {0, 1}) slots_[slot] = DeviceFloats(sizes[slot]);
}

bool OptimizerState::is_muons(const ParameterEntry& entry) const {
    return muon_ && coordinator::muon_updates(entry.spec);
}

std::span<const std::string_view> OptimizerState::kinds_of(const ParameterEntry& entry) const {
    return coordinator::optimizer_state_kinds(entry.spec, muon_);
}

std::span<const std::string_view> OptimizerState::all_kinds() { return coordinator::all_optimizer_state_kinds(); }

float* OptimizerState::at(std::size_t slot, std::size_t index, std::int64_t element) {
    return slots_[slot].data() + (shifts_[slot][index] + element);
}

float* OptimizerState::find(std::string_view kind, std::size_t index, std::int64_t element) {
    const auto kinds = kinds_of(parameters_.entries()[index]);
    const auto place = std::find(kinds.begin(), kinds.end(), kind);
    return place == kinds.end() ? nullptr : at(static_cast<std::size_t>(place - kinds.begin()), index, element);
}

void OptimizerState::reset() {
    for (DeviceFloats& slot : slots_) fill_floats(slot.data(), slot.size(), 0.0F);
}

}  // namespace kiban::worker
