// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/train.h"

#include <chrono>
#include <cmath>
#include <limits>

#include "coordinator/protocol/wire.h"
#include "monitoring/error.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

using monitoring::log_info;
using monitoring::log_warning;

double wall_seconds() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string duration_text(double seconds) {
    const auto whole = static_cast<std::uint64_t>(std::llround(seconds));
    if (whole >= 3600) return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
    return fmt::format("{}m{:02}s", whole / 60, whole % 60);
}

}  // namespace

TrainMode::TrainMode(Session& session, TrainProgress& training, std::uint32_t attempt)
    : session_(session),
      training_(training),
      attempt_(attempt),
      start_(checkpoint::newest_checkpoint(session.directory.root())),
      save_({.run_dir = session.directory.root(),
             .attempt = attempt,
             .workers = session.run_file.launch.workers,
             .keep = session.run_file.checkpoint.keep,
             .is_current = [&session] { return session.lease.is_current(); },
             .before_commit = [&training] { training.curve.sync(); }}) {
    training_.durable_progress = start_ ? start_->step + 1 : 0;
    training_.speed.restart();
    checkpoint::sweep_staging(session.directory.root());
    session_.board.set_state("starting");
}

void TrainMode::joined(CoordinatorChannel& channel) { send_job(channel); }

void TrainMode::send_job(CoordinatorChannel& channel) {
    channel.send_to_all(Job{.mode = "train",
                            .run_file = to_toml(session_.run_file),
                            .manifest = training_.manifest,
                            .manifest_digest = training_.manifest_digest,
                            .checkpoint = start_ ? start_->directory.string() : "",
                            .options = nlohmann::json::object()});
}

void TrainMode::on_message(CoordinatorChannel& channel, int rank, const WorkerMessage& message) {
    if (const auto* step = std::get_if<StepReport>(&message)) {
        on_step(*step);
    } else if (const auto* loaded = std::get_if<LoadResult>(&message)) {
        on_loaded(channel, *loaded);
    } else if (const auto* request = std::get_if<StageRequest>(&message)) {
        on_stage_request(channel, *request);
    } else if (const auto* written = std::get_if<ShardWritten>(&message)) {
        if (const auto outcome = save_.shard_written(channel, rank, *written)) on_outcome(*outcome);
    } else {
        throw InternalError("worker {} sent a message that has no place in training", rank);
    }
}

void TrainMode::on_loaded(CoordinatorChannel& channel, const LoadResult& result) {
    const std::uint64_t step = start_ ? start_->step : 0;
    if (!result.error.empty()) {
        KIBAN_CHECK(start_.has_value(), "the workers could not make initial weights: {}", result.error);
        log_warning("checkpoint '{}' cannot be used: {}; trying an older one", start_->directory.string(),
                    result.error);
        session_.board.journal.add("checkpoint_rejected",
                                   {{"checkpoint", start_->directory.string()}, {"reason", result.error}});
        checkpoint::reject_checkpoint(session_.directory.root(), *start_, result.error);
        start_ = checkpoint::newest_checkpoint(session_.directory.root());  // CheckpointError when all are bad
        send_job(channel);
        return;
    }
    loaded_ = true;
    training_.step = step;
    training_.curve.begin_attempt(attempt_, step);
    session_.board.journal.add(
        "training", {{"from_step", step}, {"checkpoint", result.checkpoint}, {"exactness", result.exactness}});
    if (start_) {
        log_info("resuming from step {} ({}): {}", step, result.exactness, start_->directory.string());
    } else {
        log_info("training from initial weights");
    }
    session_.board.status.step = step;
    if (start_) {
        session_.board.status.checkpoint = start_->directory.string();
        session_.board.status.checkpoint_step = start_->step;
    }
    session_.board.set_state("training");
}

void TrainMode::on_step(const StepReport& report) {
    // A hole in the record would be a lie: a lost message ends the attempt, and the next one does the steps again.
    KIBAN_CHECK(loaded_ && report.step == training_.step + 1, "step {} was reported after step {}", report.step,
                training_.step);
    training_.step = report.step;
    const double no_evaluation = std::numeric_limits<double>::quiet_NaN();
    const monitoring::CurveRow row = {.step = report.step,
                                      .tokens = report.tokens,
                                      .loss = report.loss,
                                      .learning_rate = report.learning_rate,
                                      .grad_norm = report.grad_norm,
                                      .eval_loss = report.eval_loss.value_or(no_evaluation),
                                      .step_seconds = report.step_seconds,
                                      .wall_time = wall_seconds(),
                                      .attempt = attempt_};
    training_.curve.append(row);
    session_.board.metrics().step(row, report.step_tokens, report.clipped, report.phase_seconds);
    for (const Traffic& part : report.traffic) {
        session_.board.metrics().communicated({.axis = part.group,
                                               .operation = part.operation,
                                               .calls = part.calls,
                                               .bytes = part.bytes,
                                               .seconds = part.seconds});
    }
    training_.speed.add(report.step, report.tokens, monotonic_seconds());
    RunStatus& status = session_.board.status;
    status.step = report.step;
    status.tokens = report.tokens;
    status.loss = report.loss;
    status.learning_rate = report.learning_rate;
    if (report.eval_loss) status.eval_loss = *report.eval_loss;
    status.tokens_per_second = training_.speed.tokens_per_second();
    status.eta_seconds = training_.speed.seconds_to(status.steps);
    show_progress(report);
}

void TrainMode::show_progress(const StepReport& report) {
    if (report.eval_loss) log_info("step {}: holdout loss {:.4f}", report.step, *report.eval_loss);
    const double now = monotonic_seconds();
    const RunStatus& status = session_.board.status;
    if (now < training_.next_progress && report.step != status.steps) return;
    training_.next_progress =
        now + (session_.console.live() ? 0.2 : session_.run_file.monitoring.progress_interval_seconds);
    std::string line =
        fmt::format("step {}/{}  loss {:.4f}  lr {:.2e}", report.step, status.steps, report.loss, report.learning_rate);
    if (status.tokens_per_second > 0) line += fmt::format("  {:.0f} tokens/s", status.tokens_per_second);
    if (status.eta_seconds > 0) line += fmt::format("  {} left", duration_text(status.eta_seconds));
    session_.console.progress(line);
}

void TrainMode::on_stage_request(CoordinatorChannel& channel, const StageRequest& request) {
    KIBAN_CHECK(loaded_, "a save of step {} is asked for before anything is loaded", request.step);
    session_.board.set_state("saving");
    if (const auto outcome = save_.begin(channel, request)) on_outcome(*outcome);
}

void TrainMode::on_outcome(const SaveOutcome& outcome) {
    if (outcome.committed) {
        training_.durable_progress = outcome.step + 1;
        session_.board.status.checkpoint = outcome.committed->directory.string();
        session_.board.status.checkpoint_step = outcome.step;
        session_.board.metrics().checkpoint_committed(outcome.step, outcome.committed->bytes, outcome.seconds);
        session_.board.journal.add("checkpoint", {{"step", outcome.step},
                                                  {"directory", outcome.committed->directory.filename().string()},
                                                  {"bytes", outcome.committed->bytes},
                                                  {"seconds", outcome.seconds}});
        log_info("step {}: checkpoint durable, {:.1f} MB in {:.2f} s", outcome.step,
                 static_cast<double>(outcome.committed->bytes) / 1e6, outcome.seconds);
    }
    if (!outcome.error.empty()) {
        session_.board.metrics().checkpoint_failed("error");
        session_.board.journal.add("checkpoint_failed", {{"step", outcome.step}, {"reason", outcome.error}});
        log_warning("step {}: {}: {}", outcome.step,
                    outcome.committed ? "after the commit" : "no checkpoint, training goes on", outcome.error);
    }
    session_.board.set_state("training");
}

std::uint64_t TrainMode::undone_steps() const {
    const std::uint64_t durable = training_.durable_progress == 0 ? 0 : training_.durable_progress - 1;
    return training_.step > durable ? training_.step - durable : 0;
}

bool TrainMode::request_stop(CoordinatorChannel& channel, const std::string& reason) {
    if (!loaded_) return false;
    session_.board.journal.add("stop_requested", {{"reason", reason}});
    channel.send(0, Stop{reason});
    return true;
}

Outcome train(Session& session, TrainProgress& training) {
    Outcome outcome = supervise(
        session, [&](std::uint32_t attempt) { return std::make_unique<TrainMode>(session, training, attempt); });
    session.console.end_progress();
    return outcome;
}

}  // namespace kiban::coordinator
