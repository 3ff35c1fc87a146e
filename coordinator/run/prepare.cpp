// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/prepare.h"

#include <algorithm>

#include "coordinator/protocol/wire.h"
#include "monitoring/error.h"
#include "monitoring/log.h"

namespace kiban::coordinator {

void PrepareMode::joined(CoordinatorChannel& channel) {
    joined_at_ = monotonic_seconds();
    joined_bytes_ = preparation_.progress().input_bytes_done;
    channel.send_to_all(Job{.mode = "prepare",
                            .run_file = to_toml(session_.run_file),
                            .manifest = "",
                            .manifest_digest = "",
                            .checkpoint = "",
                            .options = nlohmann::json::object()});
}

void PrepareMode::on_message(CoordinatorChannel& channel, int rank, const WorkerMessage& message) {
    if (std::holds_alternative<TaskRequest>(message)) {
        waiting_.push_back(rank);
    } else if (const auto* done = std::get_if<TaskDone>(&message)) {
        const auto task = handed_.find(done->id);
        KIBAN_CHECK(task != handed_.end() && task->second == rank, "worker {} has done task {}, which it does not have",
                    rank, done->id);
        const auto before = preparation_.progress();
        preparation_.complete(done->id, done->result);
        note_progress(session_);
        handed_.erase(task);
        const auto after = preparation_.progress();
        session_.board.metrics().prepared_unit(after.input_bytes_done - before.input_bytes_done,
                                               after.documents - before.documents, after.tokens - before.tokens);
        show_progress();
    } else {
        throw InternalError("worker {} sent a message that has no place in a preparation", rank);
    }
    serve(channel);
}

// The last tasks may still be out with others: who asks then is answered when they are in.
void PrepareMode::serve(CoordinatorChannel& channel) {
    while (!waiting_.empty()) {
        auto task = preparation_.next_task();
        if (!task && !preparation_.finished()) return;
        const int rank = waiting_.front();
        waiting_.pop_front();
        if (task) handed_[task->at("id").get<std::uint64_t>()] = rank;
        channel.send(rank, Task{.none = !task.has_value(), .task = task.value_or(nullptr)});
    }
}

bool PrepareMode::request_stop(CoordinatorChannel&, const std::string&) {
    return false;
}  // what is done is durable already

void PrepareMode::on_request(CoordinatorChannel&, const Request& request) {
    session_.requests.answer(
        request.id,
        {.done = false,
         .text = fmt::format("the corpus is being prepared: there is no training to {} yet", request.verb)});
}

void PrepareMode::ended() {
    for (const auto& [id, rank] : handed_) preparation_.give_back(id);
    handed_.clear();
    waiting_.clear();
}

void PrepareMode::show_progress() {
    const auto progress = preparation_.progress();
    const double now = monotonic_seconds();
    RunStatus& status = session_.board.status;
    status.tasks_done = progress.tasks_done;
    status.tasks_total = progress.tasks_total;
    status.prepared_bytes = progress.input_bytes_done;
    status.input_bytes = progress.input_bytes_total;
    status.prepared_documents = progress.documents;
    status.prepared_tokens = progress.tokens;
    // Behind the last byte of input come tasks that read none: they do not change how fast it was read.
    if (status.prepared_bytes > joined_bytes_ && (status.prepared_bytes < status.input_bytes || first_whole_)) {
        status.prepared_bytes_per_second =
            static_cast<double>(status.prepared_bytes - joined_bytes_) / std::max(now - joined_at_, 1e-3);
    }
    first_whole_ = status.prepared_bytes < status.input_bytes;
    const bool last = progress.tasks_done == progress.tasks_total;
    if (now < next_progress_ && !last) return;
    next_progress_ = now + (session_.console.live() ? 0.2 : session_.run_file.monitoring.progress_interval_seconds);
    session_.console.progress(
        fmt::format("preparing: task {} of {}, {:.1f} of {:.1f} MB ({:.1f} MB/s), {} documents, {} tokens",
                    progress.tasks_done, progress.tasks_total, static_cast<double>(progress.input_bytes_done) / 1e6,
                    static_cast<double>(progress.input_bytes_total) / 1e6, status.prepared_bytes_per_second / 1e6,
                    progress.documents, progress.tokens));
}

Outcome prepare_corpus(Session& session, data::Preparation& preparation) {
    if (preparation.finished()) {
        monitoring::log_info("the corpus is prepared already: {}", preparation.manifest_file().string());
        return {.decision = {.kind = Decision::Kind::done, .reason = "prepared already"}, .end = {}};
    }
    session.board.set_state("preparing");
    const std::uint64_t done_before = preparation.progress().tasks_done;
    Outcome outcome =
        supervise(session, [&](std::uint32_t) { return std::make_unique<PrepareMode>(session, preparation); });
    session.console.end_progress();
    const auto progress = preparation.progress();
    if (progress.tasks_done > done_before)
        session.board.journal.try_add("preparation", {{"tasks", progress.tasks_done}, {"of", progress.tasks_total}});
    if (outcome.decision.kind == Decision::Kind::done) {
        KIBAN_CHECK(preparation.finished(), "the workers have finished, but the corpus is not published");
        session.board.journal.try_add(
            "corpus_prepared", {{"manifest", preparation.manifest_file().string()}, {"tokens", progress.tokens}});
        monitoring::log_info("corpus prepared: {} documents, {} tokens: {}", progress.documents, progress.tokens,
                             preparation.manifest_file().string());
    }
    return outcome;
}

std::optional<Outcome> stop_after_preparation(const Outcome& prepared) {
    if (prepared.decision.kind != Decision::Kind::done || !prepared.end.asked_to_leave) return std::nullopt;
    Outcome stop = prepared;
    stop.end.finished = false;
    stop.end.interrupted = true;
    stop.decision = decide_once(stop.end);
    stop.decision.reason = "stopped as requested: the corpus is prepared, training has not begun";
    return stop;
}

}  // namespace kiban::coordinator
