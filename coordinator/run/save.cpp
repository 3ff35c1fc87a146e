// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/save.h"

#include <algorithm>

#include "coordinator/protocol/wire.h"
#include "monitoring/error.h"

namespace kiban::coordinator {

std::optional<SaveOutcome> SaveFlow::begin(CoordinatorChannel& channel, const StageRequest& request) {
    KIBAN_CHECK(!active_, "a save of step {} is asked for while that of step {} is under way", request.step,
                request_.step);
    started_ = monotonic_seconds();
    request_ = request;
    try {
        staging_ = checkpoint::begin_checkpoint(setup_.run_dir, request.step, setup_.attempt, request.bytes);
    } catch (const Error& error) {
        channel.send_to_all(StageReply{.step = request.step, .directory = "", .error = error.what()});
        return SaveOutcome{.step = request.step, .committed = std::nullopt, .seconds = 0, .error = error.what()};
    }
    active_ = true;
    answers_.assign(static_cast<std::size_t>(setup_.workers), std::nullopt);
    channel.send_to_all(StageReply{.step = request.step, .directory = staging_.string(), .error = ""});
    return std::nullopt;
}

std::optional<SaveOutcome> SaveFlow::shard_written(CoordinatorChannel& channel, int rank, const ShardWritten& message) {
    KIBAN_CHECK(active_ && message.step == request_.step,
                "worker {} reports a shard of step {}, the save under way is of step {}", rank, message.step,
                request_.step);
    answers_.at(static_cast<std::size_t>(rank)) = message;
    const bool all =
        std::all_of(answers_.begin(), answers_.end(), [](const auto& answer) { return answer.has_value(); });
    if (!all) return std::nullopt;
    return conclude(channel);
}

SaveOutcome SaveFlow::conclude(CoordinatorChannel& channel) {
    SaveOutcome outcome{.step = request_.step, .committed = std::nullopt, .seconds = 0, .error = ""};
    std::vector<checkpoint::ShardReport> reports;
    try {
        for (std::size_t rank = 0; rank < answers_.size(); ++rank) {
            if (!answers_[rank]->error.empty()) throw CheckpointError("worker {}: {}", rank, answers_[rank]->error);
            reports.push_back(checkpoint::shard_report_from_json(answers_[rank]->report));
        }
        if (setup_.is_current()) setup_.before_commit();  // else the commit refuses
        outcome.committed = checkpoint::commit_checkpoint(setup_.run_dir, staging_, request_.step, setup_.attempt,
                                                          reports, request_.state, setup_.is_current);
        active_ = false;
        checkpoint::apply_retention(setup_.run_dir, setup_.keep);
    } catch (const Error& error) {
        outcome.error = error.what();
        if (active_) abandon();
    }
    outcome.seconds = monotonic_seconds() - started_;
    channel.send_to_all(
        SaveResult{.step = request_.step, .committed = outcome.committed.has_value(), .error = outcome.error});
    return outcome;
}

void SaveFlow::abandon() {
    if (!active_) return;
    active_ = false;
    checkpoint::abandon_checkpoint(staging_);
}

}  // namespace kiban::coordinator
