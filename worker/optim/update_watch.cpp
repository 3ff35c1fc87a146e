// SPDX-License-Identifier: Apache-2.0
#include "worker/optim/update_watch.h"

#include <algorithm>
#include <utility>

#include "coordinator/job/ownership.h"
#include "coordinator/job/sharding.h"
#include "monitoring/error.h"
#include "worker/device/memory.h"

namespace kiban::worker {
namespace {

using checkpoint::Part;

struct GroupRule {
    std::string_view pattern;
    std::size_t group;
};

constexpr std::array<GroupRule, 7> kGroupRules = {{{"embedding.*", 0},
                                                   {"positions.*", 0},
                                                   {"layers.*.attention.*", 1},
                                                   {"layers.*.mlp.*", 2},
                                                   {"layers.*_norm.*", 3},
                                                   {"norm.*", 3},
                                                   {"head.*", 4}}};

double squares_of(const float* values, std::int64_t count) {
    double sum = 0;
    for (std::int64_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    return sum;
}

double squares_of_changes(const float* before, const float* after, std::int64_t count) {
    double sum = 0;
    for (std::int64_t i = 0; i < count; ++i) {
        const double change = static_cast<double>(after[i]) - static_cast<double>(before[i]);
        sum += change * change;
    }
    return sum;
}

}  // namespace

std::size_t tensor_group(std::string_view name) {
    for (const GroupRule& rule : kGroupRules)
        if (coordinator::matches(rule.pattern, name)) return rule.group;
    throw InternalError("tensor '{}' is in no group of tensors", name);
}

UpdateWatch::UpdateWatch(const Parameters& parameters, std::vector<OwnedPiece> stored, int tensor_rank,
                         UpdateNorms& norms)
    : parameters_(parameters),
      stored_(std::move(stored)),
      tensor_rank_(tensor_rank),
      norms_(norms),
      before_(static_cast<std::size_t>(kBlock)),
      after_(static_cast<std::size_t>(kBlock)) {}

// Of `range`, what this worker alone stores; elements of it in the middle or at one end, or none.
Part UpdateWatch::counted(const OwnedPiece& piece, const ParameterEntry& entry, const Part& range) const {
    const Part& stored = stored_[static_cast<std::size_t>(piece.bucket)].range;
    const Part both{std::max(range.begin, stored.begin), std::min(range.end, stored.end)};
    if (both.size() <= 0 || !coordinator::stores(entry, tensor_rank_)) return {range.begin, range.begin};
    return both;
}

void UpdateWatch::run(const OwnedPiece& piece, std::size_t index, const Part& range, const Apply& apply,
                      const SecondMoments& second_moments) {
    const ParameterEntry& entry = parameters_.entries()[index];
    const std::size_t group = tensor_group(entry.spec.name);
    const Part seen = counted(piece, entry, range);
    if (seen.begin > range.begin) apply({range.begin, seen.begin});
    for (std::int64_t begin = seen.begin; begin < seen.end; begin += kBlock) {
        const Part block{begin, std::min(begin + kBlock, seen.end)};
        const float* values = piece.values + (begin - piece.range.begin);
        to_host(values, block.size(), before_.data());
        apply(block);
        to_host(values, block.size(), after_.data());
        norms_.parameters[group] += squares_of(after_.data(), block.size());
        norms_.changes[group] += squares_of_changes(before_.data(), after_.data(), block.size());
        if (!second_moments) continue;
        to_host(second_moments(begin), block.size(), before_.data());
        norms_.second_moments += squares_of(before_.data(), block.size());
        norms_.adamws += static_cast<double>(block.size());
    }
    if (range.end > seen.end) apply({seen.end, range.end});
}

}  // namespace kiban::worker
