// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/train.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "checkpoint/reader.h"
#include "checkpoint/state.h"
#include "coordinator/config/mixture.h"
#include "coordinator/job/left_out.h"
#include "coordinator/protocol/wire.h"
#include "coordinator/run/history.h"
#include "coordinator/run/upkeep.h"
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

std::vector<monitoring::CurveRow> rows_up_to(const std::vector<monitoring::CurveRow>& rows, std::uint64_t step) {
    return {rows.begin(), std::ranges::upper_bound(rows, step, {}, &monitoring::CurveRow::step)};
}

}  // namespace

TrainMode::TrainMode(Session& session, TrainProgress& training, Upkeep& upkeep, std::uint32_t attempt)
    : session_(session),
      training_(training),
      upkeep_(upkeep),
      attempt_(attempt),
      start_(checkpoint_to_load(session.directory, session.board)),
      save_({.run_dir = session.directory.root(),
             .attempt = attempt,
             .workers = session.run_file.launch.workers,
             .keep = session.run_file.checkpoint.keep,
             .is_current = [&session] { return session.lease.is_current(); },
             .milestone_steps = session.run_file.checkpoint.milestone_steps,
             .before_commit =
                 [&training](std::uint64_t step) {
                     training.curve.sync();
                     return rows_up_to(training.curve.rows(), step);
                 }}),
      curve_events_(session.board),
      trace_(session.directory.root() / "traces", session.run_file.launch.workers, session.requests) {
    training_.durable_progress = start_ ? start_->step + 1 : 0;
    training_.left_out = left_out_rows(read_journal(session.directory.journal()));  // as later starts will read it
    training_.speed.restart();
    checkpoint::sweep_staging(session.directory.root());
    session_.board.set_state("starting");
}

void TrainMode::joined(CoordinatorChannel& channel) { send_job(channel); }

void TrainMode::send_job(CoordinatorChannel& channel) {
    std::optional<checkpoint::RunState> saved;
    if (start_) saved = checkpoint::run_state_from_json(checkpoint::CheckpointReader(start_->directory).state());
    position_ = saved ? saved->position : 0;
    mixture_ = mixture_of(saved ? &*saved : nullptr, session_.run_file,
                          recorded_mixture(read_journal(session_.directory.journal())));
    channel.send_to_all(
        Job{.mode = "train",
            .run_file = to_toml(session_.run_file),
            .manifest = training_.manifest,
            .manifest_digest = training_.manifest_digest,
            .checkpoint = start_ ? start_->directory.string() : "",
            .options = {{"left_out", to_json(training_.left_out)}, {"mixture", data::to_json(mixture_)}}});
}

void TrainMode::on_message(CoordinatorChannel& channel, int rank, const WorkerMessage& message) {
    if (const auto* step = std::get_if<StepReport>(&message)) {
        on_step(channel, *step);
    } else if (const auto* loaded = std::get_if<LoadResult>(&message)) {
        on_loaded(channel, *loaded);
    } else if (const auto* request = std::get_if<StageRequest>(&message)) {
        on_stage_request(channel, *request);
    } else if (const auto* written = std::get_if<ShardWritten>(&message)) {
        if (const auto outcome = save_.shard_written(channel, rank, *written)) on_outcome(*outcome);
    } else if (const auto* refused = std::get_if<StepRefused>(&message)) {
        on_refused(*refused);
    } else if (const auto* health = std::get_if<Health>(&message)) {
        on_health(*health);
    } else if (const auto* traced = std::get_if<TracedSteps>(&message)) {
        trace_.add(rank, TracedSteps(*traced));
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
        session_.board.metrics().checkpoint_rejected("load");
        checkpoint::reject_checkpoint(session_.directory.root(), *start_, result.error);
        start_ = checkpoint_to_load(session_.directory, session_.board);  // CheckpointError when all are bad
        training_.durable_progress = start_ ? start_->step + 1 : 0;
        send_job(channel);
        return;
    }
    loaded_ = true;
    began_ = monotonic_seconds();
    const auto journal = read_journal(session_.directory.journal());
    training_.failures = failures_in(journal);
    if (training_.write_seconds == 0) training_.write_seconds = seconds_of_last_save(journal);
    choose_interval(channel);
    training_.step = step;
    training_.curve.begin_attempt(attempt_, step);
    const auto record = monitoring::read_curve(session_.directory.curve());
    session_.board.metrics().resumed(record, step, start_.has_value());
    curve_events_.resume(record.rows, journal);
    session_.board.journal.add("training", {{"from_step", step},
                                            {"position", position_},
                                            {"checkpoint", result.checkpoint},
                                            {"exactness", result.exactness}});
    note_mixture(step, journal);
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
    take_up_refused();
    training_.wishes.went_back_to(step);
    serve_wishes(channel);
}

void TrainMode::on_step(CoordinatorChannel& channel, const StepReport& report) {
    // A hole in the record would be a lie: a lost message ends the attempt, and the next one does the steps again.
    KIBAN_CHECK(loaded_ && report.step == training_.step + 1, "step {} was reported after step {}", report.step,
                training_.step);
    reported_ = true;
    training_.step = report.step;
    training_.step_seconds = report.step_seconds;
    if (const auto evaluated = report.phase_seconds.find("evaluate"); evaluated != report.phase_seconds.end())
        training_.evaluation_seconds = std::max(training_.evaluation_seconds, evaluated->second);
    const double no_evaluation = std::numeric_limits<double>::quiet_NaN();
    const monitoring::CurveRow row = {.step = report.step,
                                      .tokens = report.tokens,
                                      .loss = report.loss,
                                      .learning_rate = report.learning_rate,
                                      .grad_norm = report.grad_norm,
                                      .eval_loss = report.eval_loss.value_or(no_evaluation),
                                      .eval_accuracy = report.eval_accuracy.value_or(no_evaluation),
                                      .eval_targets = report.eval_targets,
                                      .step_seconds = report.step_seconds,
                                      .wall_time = wall_seconds(),
                                      .attempt = attempt_};
    training_.curve.append(row);
    note_targets(report);
    session_.board.metrics().step(row, report.step_tokens, report.clipped, report.phase_seconds);
    curve_events_.add(row);
    note_stall(channel, report);
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
    if (!monitoring::without_targets(row)) status.loss = report.loss;
    status.learning_rate = report.learning_rate;
    if (report.eval_loss) status.eval_loss = *report.eval_loss;
    status.tokens_per_second = training_.speed.tokens_per_second();
    status.eta_seconds = training_.speed.seconds_to(status.steps);
    show_progress(report);
}

void TrainMode::on_health(const Health& health) {
    KIBAN_CHECK(loaded_ && health.step == training_.step, "the network of step {} was described after step {}",
                health.step, training_.step);
    session_.board.metrics().health(health.step, health.of);
}

// What checkpoints took from this step: measured, and where one was due and skipped, told.
void TrainMode::note_stall(CoordinatorChannel& channel, const StepReport& report) {
    double seconds = 0;
    double stall = 0;
    for (const auto& [phase, of_phase] : report.phase_seconds) {
        if (phase != "evaluate") (phase == "save" ? stall : seconds) += of_phase;
    }
    session_.board.metrics().checkpoint_stalled(stall);
    if (training_.save_cost.step(seconds, stall)) choose_interval(channel);
    if (!report.save_skipped) return;
    session_.board.metrics().checkpoint_skipped();
    session_.board.journal.try_add("checkpoint_skipped", {{"step", report.step}, {"under_way", training_.queued_step}});
    log_info("step {}: no checkpoint, that of step {} is still being written", report.step, training_.queued_step);
}

void TrainMode::show_progress(const StepReport& report) {
    if (report.eval_loss) {
        log_info("step {}: holdout loss {:.4f}{}", report.step, *report.eval_loss,
                 report.eval_accuracy ? fmt::format(", {:.1f} % right", 100 * *report.eval_accuracy) : "");
    }
    const double now = monotonic_seconds();
    const RunStatus& status = session_.board.status;
    if (now < training_.next_progress && report.step != status.steps) return;
    training_.next_progress =
        now + (session_.console.live() ? 0.2 : session_.run_file.monitoring.progress_interval_seconds);
    std::string line = fmt::format("step {}/{}", report.step, status.steps);
    line += report.step_tokens == 0 ? "  no targets" : fmt::format("  loss {:.4f}", report.loss);
    line += fmt::format("  lr {:.2e}", report.learning_rate);
    if (status.tokens_per_second > 0) line += fmt::format("  {:.0f} tokens/s", status.tokens_per_second);
    if (status.eta_seconds > 0) line += fmt::format("  {} left", duration_text(status.eta_seconds));
    session_.console.progress(line);
}

void TrainMode::on_stage_request(CoordinatorChannel& channel, const StageRequest& request) {
    KIBAN_CHECK(loaded_, "a save of step {} is asked for before anything is loaded", request.step);
    KIBAN_CHECK(request.step == training_.step, "a save of step {} is asked for after step {}", request.step,
                training_.step);  // the curve that goes into it would lag behind
    training_.queued_step = request.step;
    training_.save_is_waited_for = request.waited_for;
    if (!request.waited_for) training_.save_cost.save_began();
    session_.board.metrics().checkpoint_queued(request.step);
    session_.board.status.checkpoint_queued = true;
    session_.board.status.checkpoint_queued_step = request.step;
    session_.board.set_state(request.waited_for ? "saving" : "training");
    if (const auto outcome = save_.begin(channel, request)) on_outcome(*outcome);
}

void TrainMode::on_ready(CoordinatorChannel& channel) {
    if (const auto outcome = save_.outcome(channel)) on_outcome(*outcome);
}

// Not beside a commit: its thread sweeps by the same records.
void TrainMode::each_second() {
    if (save_.committing()) return;
    upkeep_.tick(training_.curve.rows());
    if (!upkeep_.take_rejected()) return;
    std::uint64_t durable = 0;  // 1 + step of the newest one that is left
    for (const auto& left : checkpoint::list_checkpoints(session_.directory.root()))
        durable = std::max(durable, left.step + 1);
    training_.durable_progress = durable;
}

// A commit that was under way is as good as any; what fails now fails with the attempt.
void TrainMode::ended() {
    while (save_.committing()) {  // for as long as the disk takes, the run stays ours
        pollfd item{save_.descriptor(), POLLIN, 0};
        if (::poll(&item, 1, 1000) > 0) break;
        try {
            session_.lease.renew();
        } catch (const IoError&) {  // who writes next hears of it
        }
    }
    const auto outcome = save_.end();
    if (outcome && outcome->committed) training_.durable_progress = outcome->step + 1;
    session_.lease.require_current();  // before anything is written
    if (outcome) note_save(*outcome);
    trace_.end();
    training_.save_cost.forget();
    session_.board.status.checkpoint_queued = false;
    session_.board.metrics().checkpoint_ended();
}

void TrainMode::on_outcome(const SaveOutcome& outcome) {
    if (outcome.committed) {
        training_.save_cost.save_ended();
        training_.write_seconds = outcome.seconds;
    } else {
        training_.save_cost.forget();  // what failed says nothing of what a save costs
    }
    session_.board.status.checkpoint_queued = false;
    session_.board.metrics().checkpoint_ended();
    note_save(outcome);
    session_.board.set_state("training");
    if (!outcome.committed) ++training_.failed_saves;
    if (training_.failed_saves < session_.run_file.checkpoint.max_failures) return;
    throw SavesFailedError(fmt::format(
        "{} checkpoints one after another could not be made durable, the last one of step {}: {}; the run ends, since "
        "all that it did from now on could be lost: make room, or mend what the message names, and start it again",
        training_.failed_saves, outcome.step, outcome.error));
}

void TrainMode::note_save(const SaveOutcome& outcome) {
    if (training_.save_is_waited_for)
        training_.longest_waited_save = std::max(training_.longest_waited_save, outcome.seconds);
    if (outcome.committed) {
        training_.failed_saves = 0;
        training_.durable_progress = outcome.step + 1;
        note_progress(session_);
        session_.board.metrics().checkpoint_written(outcome.committed->bytes, outcome.write_seconds);
        session_.board.status.checkpoint = outcome.committed->directory.string();
        session_.board.status.checkpoint_step = outcome.step;
        session_.board.metrics().checkpoint_committed(outcome.step, outcome.committed->bytes, outcome.seconds);
        session_.board.journal.try_add("checkpoint", {{"step", outcome.step},
                                                      {"directory", outcome.committed->directory.filename().string()},
                                                      {"bytes", outcome.committed->bytes},
                                                      {"seconds", outcome.seconds}});
        log_info("step {}: checkpoint durable, {:.1f} MB in {:.2f} s", outcome.step,
                 static_cast<double>(outcome.committed->bytes) / 1e6, outcome.seconds);
        answer_wishes(outcome.step, {.done = true, .text = checkpoint_text()});
    } else {
        answer_wishes(outcome.step, {.done = false,
                                     .text = fmt::format("no checkpoint of step {}: {}", outcome.step, outcome.error)});
    }
    if (!outcome.error.empty()) {
        session_.board.metrics().checkpoint_failed("error");
        session_.board.journal.try_add("checkpoint_failed", {{"step", outcome.step}, {"reason", outcome.error}});
        log_warning("step {}: {}: {}", outcome.step,
                    outcome.committed ? "after the commit" : "no checkpoint, training goes on", outcome.error);
    }
}

// Worker 0 is told when it changes by more than a tenth; the first is short, so that what a save costs is known soon.
void TrainMode::choose_interval(CoordinatorChannel& channel) {
    const checkpoint::CheckpointConfig& config = session_.run_file.checkpoint;
    if (!config.interval_steps.automatic) {
        if (config.interval_steps.steps > 0) session_.board.metrics().checkpoint_interval(config.interval_steps.steps);
        return;
    }
    std::uint64_t steps = config.min_interval_steps;
    IntervalInput input;
    if (training_.save_cost.save_seconds() && training_.save_cost.step_seconds()) {
        FailureRecord record = training_.failures;
        record.trained_seconds += monotonic_seconds() - began_;
        input = {.save_seconds = *training_.save_cost.save_seconds(),
                 .failure_seconds = seconds_between_failures(config.hours_between_failures * 3600, record),
                 .step_seconds = *training_.save_cost.step_seconds(),
                 .write_seconds = training_.write_seconds};
        steps = interval_steps(input, config);
    }
    const auto change = static_cast<double>(steps) / static_cast<double>(std::max<std::uint64_t>(interval_, 1));
    if (interval_ != 0 && change > 0.9 && change < 1.1) return;
    interval_ = steps;
    channel.send(0, SaveInterval{steps});
    session_.board.metrics().checkpoint_interval(steps);
    session_.board.journal.try_add("checkpoint_interval", {{"steps", steps},
                                                           {"save_seconds", input.save_seconds},
                                                           {"step_seconds", input.step_seconds},
                                                           {"seconds_between_failures", input.failure_seconds}});
}

std::uint64_t TrainMode::undone_steps() const {
    const std::uint64_t durable = training_.durable_progress == 0 ? 0 : training_.durable_progress - 1;
    return training_.step > durable ? training_.step - durable : 0;
}

std::uint64_t TrainMode::undone_tokens() const {
    const auto& rows = training_.curve.rows();
    if (rows.empty() || undone_steps() == 0) return 0;
    const std::uint64_t durable = training_.step - undone_steps();
    const auto lost = std::upper_bound(rows.begin(), rows.end(), durable,
                                       [](std::uint64_t step, const auto& row) { return step < row.step; });
    return rows.back().tokens - (lost == rows.begin() ? 0 : std::prev(lost)->tokens);
}

Outcome train(Session& session, TrainProgress& training) {
    training.refused = refused_steps(read_journal(session.directory.journal()));
    Upkeep upkeep(session.directory, session.run_file.checkpoint, session.board);
    Outcome outcome = supervise(session, [&](std::uint32_t attempt) {
        return std::make_unique<TrainMode>(session, training, upkeep, attempt);
    });
    session.console.end_progress();
    return outcome;
}

}  // namespace kiban::coordinator
