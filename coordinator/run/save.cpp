// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/save.h"

#include <algorithm>
#include <utility>

#include "coordinator/protocol/wire.h"
#include "coordinator/run/reading_mark.h"
#include "monitoring/error.h"
#include "monitoring/log.h"

namespace kiban::coordinator {

std::optional<SaveOutcome> SaveFlow::begin(CoordinatorChannel& channel, const StageRequest& request) {
    KIBAN_CHECK(!active_, "a save of step {} is asked for while that of step {} is under way", request.step,
                request_.step);
    started_ = monotonic_seconds();
    request_ = request;
    kept_ = next_kept_;
    outcome_ = {.step = request.step, .committed = std::nullopt, .seconds = 0, .write_seconds = 0, .error = ""};
    try {
        staging_ = checkpoint::begin_checkpoint(setup_.run_dir, request.step, setup_.attempt, request.bytes);
    } catch (const Error& error) {
        channel.send_to_all(StageReply{.step = request.step, .directory = "", .error = error.what()});
        outcome_.error = error.what();
        return outcome_;
    }
    active_ = true;
    answers_.assign(static_cast<std::size_t>(setup_.workers), std::nullopt);
    channel.send_to_all(StageReply{.step = request.step, .directory = staging_.string(), .error = ""});
    return std::nullopt;
}

void SaveFlow::retain(std::uint32_t keep, std::uint64_t milestone_steps) {
    next_kept_ = rule_of(keep, milestone_steps);
}

checkpoint::RetentionRule SaveFlow::rule_of(std::uint32_t keep, std::uint64_t milestone_steps) const {
    return {.keep = keep, .milestone_steps = milestone_steps, .in_use = [run_dir = setup_.run_dir] {
                return checkpoints_being_read(run_dir);
            }};
}

std::optional<SaveOutcome> SaveFlow::shard_written(CoordinatorChannel& channel, int rank, const ShardWritten& message) {
    KIBAN_CHECK(active_ && !thread_.joinable() && message.step == request_.step,
                "worker {} reports a shard of step {}, the save under way is of step {}", rank, message.step,
                request_.step);
    answers_.at(static_cast<std::size_t>(rank)) = message;
    outcome_.write_seconds = std::max(outcome_.write_seconds, message.seconds);
    const bool all =
        std::all_of(answers_.begin(), answers_.end(), [](const auto& answer) { return answer.has_value(); });
    if (!all) return std::nullopt;
    try {
        std::vector<checkpoint::ShardReport> all_reports = reports();
        if (!setup_.is_current()) throw CheckpointError("another coordinator has the run");
        std::vector<monitoring::CurveRow> curve = setup_.before_commit(request_.step);
        thread_ =
            std::thread([this, written = std::move(all_reports), rows = std::move(curve)] { commit(written, rows); });
        return std::nullopt;
    } catch (const Error& error) {
        outcome_.error = error.what();
    }
    const SaveOutcome failed = finish();
    tell(channel, failed);
    return failed;
}

std::vector<checkpoint::ShardReport> SaveFlow::reports() const {
    std::vector<checkpoint::ShardReport> all;
    for (std::size_t rank = 0; rank < answers_.size(); ++rank) {
        if (!answers_[rank]->error.empty()) throw CheckpointError("worker {}: {}", rank, answers_[rank]->error);
        all.push_back(checkpoint::shard_report_from_json(answers_[rank]->report));
    }
    return all;
}

// On the commit's thread.
void SaveFlow::commit(const std::vector<checkpoint::ShardReport>& reports,
                      const std::vector<monitoring::CurveRow>& rows) {
    try {
        const checkpoint::CurveReport curve = checkpoint::write_curve(staging_, rows, request_.step);
        outcome_.committed = checkpoint::commit_checkpoint(setup_.run_dir, staging_, request_.step, setup_.attempt,
                                                           reports, request_.state, setup_.is_current, curve);
        if (setup_.is_current()) {
            checkpoint::apply_retention(setup_.run_dir, kept_);
        }
    } catch (const std::exception& error) {
        outcome_.error = error.what();
    }
    concluded_.notify();
}

std::optional<SaveOutcome> SaveFlow::outcome(CoordinatorChannel& channel) {
    if (!thread_.joinable()) return std::nullopt;
    const SaveOutcome outcome = finish();
    tell(channel, outcome);
    return outcome;
}

std::optional<SaveOutcome> SaveFlow::end() {
    if (!active_) return std::nullopt;
    const bool committing = thread_.joinable();
    SaveOutcome outcome = finish();
    return committing ? std::optional(std::move(outcome)) : std::nullopt;
}

// What cannot be removed now is swept before the first save of the next attempt.
void SaveFlow::abandon() {
    try {
        checkpoint::abandon_checkpoint(staging_);
    } catch (const Error& error) {
        monitoring::log_warning("the staging directory of step {} stays: {}", request_.step, error.what());
    }
}

SaveOutcome SaveFlow::finish() {
    if (thread_.joinable()) thread_.join();
    concluded_.clear();
    active_ = false;
    if (!outcome_.committed) abandon();
    outcome_.seconds = monotonic_seconds() - started_;
    return outcome_;
}

void SaveFlow::tell(CoordinatorChannel& channel, const SaveOutcome& outcome) const {
    channel.send_to_all(
        SaveResult{.step = outcome.step, .committed = outcome.committed.has_value(), .error = outcome.error});
}

}  // namespace kiban::coordinator
