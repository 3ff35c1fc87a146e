// SPDX-License-Identifier: Apache-2.0
#include "coordinator/config/mixture.h"

#include <algorithm>
#include <limits>

namespace kiban::coordinator {

std::vector<double> weights_of(const RunFile& run_file) {
    std::vector<double> weights;
    for (const data::SourceConfig& source : run_file.data.sources) weights.push_back(source.weight);
    return weights;
}

data::RowLayout layout_of(const RunFile& run_file) {
    return {.packing = run_file.data.packing, .documents_apart = run_file.model.attention == AttentionScope::document};
}

namespace {

// Before mixtures could change, that of the stored run file was the whole order's.
std::vector<data::MixtureSegment> mixture_up_to(const checkpoint::RunState& saved, const RunFile& now) {
    std::vector<data::MixtureSegment> before = saved.mixture;
    if (before.empty()) {
        before.push_back({0, weights_of(parse_saved_run_file(saved.run_file, now.base, "run file of the checkpoint"))});
    }
    std::erase_if(before, [&](const data::MixtureSegment& segment) { return segment.first >= saved.position; });
    return before;
}

}  // namespace

std::vector<data::MixtureSegment> mixture_of(const checkpoint::RunState* saved, const RunFile& now,
                                             std::vector<data::MixtureSegment> recorded) {
    const std::uint64_t position = saved == nullptr ? 0 : saved->position;
    std::vector<data::MixtureSegment> before;
    if (position > 0) before = mixture_up_to(*saved, now);
    if (recorded.empty() && saved != nullptr) recorded = saved->mixture;
    if (!recorded.empty() && recorded.back().weights == weights_of(now)) {
        std::vector<data::MixtureSegment> same = recorded;
        std::erase_if(same, [&](const data::MixtureSegment& segment) { return segment.first >= position; });
        if (same == before) return recorded;
    }
    return data::continued(std::move(before), position, weights_of(now));
}

std::uint64_t same_rows_until(const std::vector<data::MixtureSegment>& a, const std::vector<data::MixtureSegment>& b) {
    constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();
    const auto [in_a, in_b] = std::ranges::mismatch(a, b);
    return std::min(in_a == a.end() ? kNever : in_a->first, in_b == b.end() ? kNever : in_b->first);
}

}  // namespace kiban::coordinator
