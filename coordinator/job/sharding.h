// SPDX-License-Identifier: Apache-2.0
// Where each tensor of the model lies on the tensor axis: a table, not control flow. Whoever cuts, gathers or saves
// parameters asks here, so that they cannot disagree.
#pragma once

#include <span>
#include <string_view>

#include "checkpoint/placement.h"

namespace kiban::coordinator {

struct ShardingRule {
    std::string_view pattern;  // of a tensor name; '*' stands for any characters
    checkpoint::Placement tensor_axis;
};

/// The rules in order; the first that matches holds.
std::span<const ShardingRule> sharding_rules();

/// InternalError for a tensor that no rule names.
checkpoint::Placement placement_of(std::string_view tensor);

bool matches(std::string_view pattern, std::string_view name);

}  // namespace kiban::coordinator
