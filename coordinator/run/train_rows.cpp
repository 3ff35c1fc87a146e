// SPDX-License-Identifier: Apache-2.0
// What the record of a run says of its rows: how the sources are mixed, and that a step had nothing to learn from.
#include <algorithm>

#include "coordinator/config/mixture.h"
#include "coordinator/run/history.h"
#include "coordinator/run/train.h"
#include "data/order.h"
#include "monitoring/log.h"

namespace kiban::coordinator {

// A change is told once, one that is undone too, with the whole order as it is from then on (recorded_mixture()).
void TrainMode::note_mixture(std::uint64_t step, const std::vector<nlohmann::json>& journal) {
    auto before = recorded_mixture(journal);
    if (before.empty()) before = {mixture_.front()};
    if (before == mixture_) return;
    const std::vector<double>& weights = mixture_.back().weights;
    const std::uint64_t changed = same_rows_until(before, mixture_);
    session_.board.journal.add(
        "mixture_changed",
        {{"position", changed}, {"step", step}, {"weights", weights}, {"mixture", data::to_json(mixture_)}});
    monitoring::log_info("the sources are mixed {} from row {} of the order on", fmt::join(weights, " : "), changed);
    const bool meets_left_out = std::ranges::any_of(
        training_.left_out, [&](const data::RowRange& rows) { return rows.first + rows.count > changed; });
    if (!meets_left_out) return;
    monitoring::log_warning(
        "rows from {} on were left out of the order as it was mixed before; the same places of the new one are left "
        "out instead, and what was bad about the old ones may come again elsewhere",
        changed);
}

// Once for a stretch of such steps; the curve has each.
void TrainMode::note_targets(const StepReport& report) {
    const bool had_none = std::exchange(without_targets_, report.step_tokens == 0);
    if (without_targets_ && !had_none)
        session_.board.journal.try_add("steps_without_targets", {{"first_step", report.step}});
}

}  // namespace kiban::coordinator
