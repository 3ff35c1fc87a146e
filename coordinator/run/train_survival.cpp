// SPDX-License-Identifier: Apache-2.0
// What training does about steps that were refused, and about what the policy decides.
#include <algorithm>

#include "checkpoint/reader.h"
#include "checkpoint/state.h"
#include "coordinator/run/good_checkpoint.h"
#include "coordinator/run/history.h"
#include "coordinator/run/train.h"
#include "monitoring/error.h"
#include "monitoring/log.h"

namespace kiban::coordinator {

using monitoring::log_warning;

// A refused step has no row in the curve: it made no update.
void TrainMode::on_refused(const StepRefused& refused) {
    KIBAN_CHECK(loaded_, "step {} was refused before anything was loaded", refused.step);
    if (refused_here_ == refused.position) return;  // another worker says so too
    refused_here_ = refused.position;
    training_.last_refused = refused;
    training_.refused.push_back(refused.step);
    upkeep_.set_refused_steps(training_.refused);
    ++session_.board.status.refused_steps;
    session_.board.metrics().anomaly(refused.kind);
    session_.board.metrics().rows_left_out(refused.rows);
    session_.board.journal.add("step_refused", {{"step", refused.step},
                                                {"kind", refused.kind},
                                                {"reason", refused.reason},
                                                {"position", refused.position},
                                                {"rows", refused.rows},
                                                {"roll_back", refused.roll_back}});
    log_warning("step {} is refused by all workers: {}; rows {} to {} of the order are left out", refused.step,
                refused.reason, refused.position, refused.position + refused.rows - 1);
}

// Steps after the one that training goes on from are done again, and judged again.
void TrainMode::take_up_refused() {
    training_.refused = refused_steps(read_journal(session_.directory.journal()));
    upkeep_.set_refused_steps(training_.refused);
}

bool TrainMode::has_older_checkpoint() const {
    if (!start_) return false;
    const auto good = good_checkpoints(session_.directory.root());
    return std::ranges::any_of(good, [this](const auto& one) { return one.step < start_->step; });
}

void TrainMode::leave_out(const data::RowRange& rows, std::uint64_t step, const char* why) {
    session_.board.journal.add("rows_left_out",
                               {{"first", rows.first}, {"count", rows.count}, {"step", step}, {"why", why}});
    session_.board.metrics().rows_left_out(rows.count);
    log_warning("rows {} to {} of the order are left out from now on ({})", rows.first, rows.first + rows.count - 1,
                why);
}

void TrainMode::before_restart(const Decision& decision) {
    const auto& root = session_.directory.root();
    if (decision.quarantine) {
        leave_out({.first = *decision.quarantine->position, .count = session_.run_file.train.batch_rows},
                  decision.quarantine->step, "quarantine");
    }
    if (decision.reject_checkpoint && start_) {
        session_.board.journal.add("checkpoint_rejected",
                                   {{"checkpoint", start_->directory.string()}, {"reason", decision.reason}});
        session_.board.metrics().checkpoint_rejected("load");
        checkpoint::reject_checkpoint(root, *start_, decision.reason);
    }
    if (decision.roll_back) roll_back();
}

void TrainMode::roll_back() {
    KIBAN_CHECK(training_.last_refused.has_value(), "a rollback without a refused step");
    const StepRefused& last = *training_.last_refused;
    const AnomalyConfig& config = session_.run_file.anomaly;
    const auto& root = session_.directory.root();
    std::uint64_t first = last.step;  // refused step of this trouble
    for (const std::uint64_t step : training_.refused) {
        if (step + config.window_steps > last.step) first = std::min(first, step);
    }
    const auto candidates = good_checkpoints(root);
    const auto promoted_names = checkpoint::promoted_checkpoints(root);
    std::vector<std::uint64_t> steps;
    std::vector<bool> promoted;
    for (const auto& candidate : candidates) {
        steps.push_back(candidate.step);
        promoted.push_back(std::ranges::count(promoted_names, candidate.directory.filename().string()) != 0);
    }
    const bool suspect = start_ && first <= start_->step + config.suspect_after_load_steps;
    const auto target = rollback_target(steps, promoted, first, suspect ? std::optional(start_->step) : std::nullopt);
    const std::uint64_t batch = session_.run_file.train.batch_rows;
    const std::uint64_t end = last.position + last.rows;
    std::uint64_t begin = end - std::min(end, config.skip_steps * batch);
    if (target) {
        const checkpoint::CheckpointReader reader(candidates[*target].directory);
        begin = std::max(begin, checkpoint::run_state_from_json(reader.state()).position);
    }
    const std::uint64_t to = target ? steps[*target] : 0;
    session_.board.journal.add("rolled_back",
                               {{"step", last.step},
                                {"to_step", to},
                                {"checkpoint", target ? candidates[*target].directory.filename().string() : ""},
                                {"promoted", target.has_value() && promoted[*target]},
                                {"reason", last.reason}});
    session_.board.metrics().rolled_back();
    log_warning("rolling back from step {} to step {}", last.step, to);
    leave_out({.first = begin, .count = end - begin}, last.step, "rollback");
    training_.durable_progress = target ? to + 1 : 0;
    if (!target) return;
    const std::string reason = fmt::format("rolled back to step {}: steps from {} on were refused", to, first);
    for (const auto& newer : checkpoint::list_checkpoints(root)) {  // damaged ones, too
        if (newer.directory == candidates[*target].directory) break;
        checkpoint::reject_checkpoint(root, newer, reason);
    }
}

std::optional<std::size_t> rollback_target(const std::vector<std::uint64_t>& steps, const std::vector<bool>& promoted,
                                           std::uint64_t first_refused, std::optional<std::uint64_t> loaded) {
    std::optional<std::size_t> newest;
    for (std::size_t i = 0; i < steps.size(); ++i) {
        if (steps[i] >= first_refused || (loaded && steps[i] >= *loaded)) continue;
        if (promoted[i]) return i;
        if (!newest) newest = i;
    }
    if (newest || steps.empty()) return newest;
    if (loaded) return rollback_target(steps, promoted, first_refused, std::nullopt);  // nothing is before it
    return steps.size() - 1;
}

}  // namespace kiban::coordinator
