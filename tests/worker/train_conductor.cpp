// SPDX-License-Identifier: Apache-2.0
#include "tests/worker/train_conductor.h"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "monitoring/error.h"

namespace kiban::worker {

using namespace coordinator;

Conductor::Conductor(std::filesystem::path run_dir, std::uint32_t attempt, int workers, Script script)
    : run_dir_(std::move(run_dir)),
      attempt_(attempt),
      workers_(workers),
      script_(std::move(script)),
      channel_({.run_dir = run_dir_, .run_id = "test", .attempt = attempt, .workers = workers}),
      thread_([this] { run(); }) {}

Conductor::~Conductor() { finish(); }

void Conductor::finish() {
    if (thread_.joinable()) thread_.join();
}

void Conductor::run() {
    while (finished.size() + failures.size() < static_cast<std::size_t>(workers_)) {
        pollfd item{channel_.descriptor(), POLLIN, 0};
        ::poll(&item, 1, 100);
        for (const Arrival& arrival : channel_.take()) handle(arrival.rank, arrival.message);
    }
}

void Conductor::handle(int rank, const WorkerMessage& message) {
    if (std::holds_alternative<Hello>(message) && ++hellos_ == workers_) send_job(script_.job);
    if (const auto* beat = std::get_if<Heartbeat>(&message)) beats[rank] = *beat;
    if (const auto* step = std::get_if<StepReport>(&message)) {
        steps.push_back(*step);
        if (step->step == script_.stop_after_step) channel_.send(0, Stop{"test"});
    }
    if (const auto* loaded = std::get_if<LoadResult>(&message)) {
        loads.push_back(*loaded);
        if (script_.save_interval != 0) channel_.send(0, SaveInterval{script_.save_interval});
        if (!loaded->error.empty()) {
            Job next = script_.job;
            next.checkpoint = script_.older_checkpoint;
            send_job(next);
        }
    }
    if (const auto* refusal = std::get_if<StepRefused>(&message); refusal != nullptr && rank == 0)
        refused.push_back(*refusal);
    if (const auto* seen = std::get_if<Health>(&message)) health.push_back(*seen);
    if (const auto* request = std::get_if<StageRequest>(&message)) stage(*request);
    if (const auto* written = std::get_if<ShardWritten>(&message)) shard_written(rank, *written);
    if (std::holds_alternative<TaskRequest>(message)) {
        waiting_.push_back(rank);
        serve();
    }
    if (const auto* done = std::get_if<TaskDone>(&message)) {
        script_.preparation->complete(done->id, done->result);
        serve();
    }
    if (const auto* end = std::get_if<Finished>(&message)) finished[rank] = *end;
    if (const auto* failure = std::get_if<Failure>(&message)) failures[rank] = *failure;
}

void Conductor::send_job(const Job& job) {
    for (int rank = 0; rank < workers_; ++rank) {
        Job own = job;
        if (script_.change_for_rank) script_.change_for_rank(own, rank);
        channel_.send(rank, own);
    }
}

void Conductor::stage(const StageRequest& request) {
    stages.push_back(request);
    if (script_.refuse_saves_from_step && request.step >= *script_.refuse_saves_from_step) {
        channel_.send_to_all(StageReply{.step = request.step, .directory = "", .error = "the disk is full"});
        return;
    }
    shards_.clear();
    staging_ = checkpoint::begin_checkpoint(run_dir_, request.step, attempt_, request.bytes);
    channel_.send_to_all(StageReply{.step = request.step, .directory = staging_.string(), .error = ""});
}

void Conductor::shard_written(int rank, const ShardWritten& written) {
    shards_[rank] = written;
    if (shards_.size() < static_cast<std::size_t>(workers_)) return;
    SaveResult result{.step = written.step, .committed = false, .error = ""};
    std::vector<checkpoint::ShardReport> reports;
    for (const auto& [writer, answer] : shards_) {
        if (!answer.error.empty()) result.error = answer.error;
        if (answer.error.empty()) reports.push_back(checkpoint::shard_report_from_json(answer.report));
    }
    if (result.error.empty()) {
        const auto info = checkpoint::commit_checkpoint(run_dir_, staging_, written.step, attempt_, reports,
                                                        stages.back().state, [] { return true; });
        committed.push_back(info.directory.string());
        result.committed = true;
    } else {
        checkpoint::abandon_checkpoint(staging_);
    }
    channel_.send_to_all(result);
}

// As in a real preparation: the last tasks may still be out, then those who ask wait.
void Conductor::serve() {
    while (!waiting_.empty()) {
        const auto task = script_.preparation->next_task();
        if (!task && !script_.preparation->finished()) return;
        channel_.send(waiting_.front(), Task{.none = !task, .task = task.value_or(nullptr)});
        waiting_.erase(waiting_.begin());
        if (task) ++tasks_by_kind[task->value("kind", "?")];
    }
}

}  // namespace kiban::worker
