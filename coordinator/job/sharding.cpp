// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/sharding.h"

#include <array>

#include "monitoring/error.h"

namespace kiban::coordinator {

using checkpoint::Placement;

std::span<const ShardingRule> sharding_rules() {
    static const std::array rules = {
        ShardingRule{"embedding.weight", Placement::Replicated()},
        ShardingRule{"positions.weight", Placement::Replicated()},
        ShardingRule{"layers.*.attention.o.weight", Placement::Split(1)},
        ShardingRule{"layers.*.attention.o.bias", Placement::Replicated()},
        ShardingRule{"layers.*.attention.*", Placement::Split(0)},  // q, k, v: whole heads
        ShardingRule{"layers.*.mlp.down.weight", Placement::Split(1)},
        ShardingRule{"layers.*.mlp.down.bias", Placement::Replicated()},
        ShardingRule{"layers.*.mlp.*", Placement::Split(0)},  // gate, up
        ShardingRule{"layers.*", Placement::Replicated()},    // the norms
        ShardingRule{"norm.*", Placement::Replicated()},
        ShardingRule{"head.weight", Placement::Replicated()},
    };
    return rules;
}

bool matches(std::string_view pattern, std::string_view name) {
    const auto star = pattern.find('*');
    if (star == std::string_view::npos) return pattern == name;
    const std::string_view before = pattern.substr(0, star);
    if (!name.starts_with(before)) return false;
    const std::string_view rest = pattern.substr(star + 1);
    for (std::size_t skip = before.size(); skip <= name.size(); ++skip) {
        if (matches(rest, name.substr(skip))) return true;
    }
    return false;
}

checkpoint::Placement placement_of(std::string_view tensor) {
    for (const ShardingRule& rule : sharding_rules()) {
        if (matches(rule.pattern, tensor)) return rule.tensor_axis;
    }
    throw InternalError("no sharding rule names the tensor '{}'", tensor);
}

}  // namespace kiban::coordinator
