// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/pretrain.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <string>

#include "coordinator/run/history.h"
#include "coordinator/run/hosts_in_use.h"
#include "coordinator/run/last_moment.h"
#include "coordinator/run/prepare.h"
#include "coordinator/run/run_report.h"
#include "coordinator/run/start.h"
#include "coordinator/run/train.h"
#include "coordinator/run/upkeep.h"
#include "data/forgotten.h"
#include "data/lineage.h"
#include "data/manifest.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"
#include "monitoring/report.h"

namespace kiban::coordinator {
namespace {

using monitoring::log_info;

void show_cleaning(monitoring::RunMetrics& metrics, const data::Manifest& manifest) {
    data::CleanCounts all;
    for (const data::ManifestSource& source : manifest.sources) all += source.cleaned;
    std::map<std::string, std::uint64_t> redacted;
    for (const auto& [kind, redaction] : all.redacted) redacted[kind] = redaction.values;
    metrics.corpus_cleaned(all.dropped, redacted);
}

void write_final_report(Coordinator& coordinator, const TrainProgress& training) {
    const RunStatus& status = coordinator.board->status;
    const auto identity = identity_of(coordinator.run_file, training.manifest_digest);
    monitoring::ReportRun run =
        report_of_files(coordinator.directory, coordinator.run_file.run.name, identity.flops_per_token);
    run.facts = {{"model", identity.model},
                 {"parameters", fmt::format("{}", identity.parameters_total)},
                 {"steps", fmt::format("{}", status.step)},
                 {"tokens", fmt::format("{}", status.tokens)},
                 {"workers", fmt::format("{}", coordinator.run_file.launch.workers)},
                 {"corpus", training.manifest_digest.substr(0, 16)},
                 {"last checkpoint", status.checkpoint},
                 {"run id", coordinator.run_id}};
    monitoring::write_report(coordinator.directory.report(), {run});
}

constexpr std::uint32_t kStartsWithoutProgress = 3;  // then a job is too short for its work

bool ask_slurm_for(const std::string& job) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::execlp("scontrol", "scontrol", "requeue", job.c_str(), static_cast<char*>(nullptr));
        ::_exit(127);
    }
    int status = 0;
    return child > 0 && ::waitpid(child, &status, 0) == child && status == 0;
}

// The very last act: Slurm starts the job again, from the top of its script.
void requeue_job(Coordinator& coordinator) {
    if (coordinator.session->last_moment != nullptr) coordinator.session->last_moment->cancel();
    const std::string job = slurm_job(current_environment());
    if (job.empty()) return;
    log_info("asking Slurm to start job {} again", job);
    if (!ask_slurm_for(job))
        monitoring::log_warning("'scontrol requeue {}' failed: submit the run again to continue it", job);
}

// Whatever the other threads wait for, they may hold locks, and a disk may not answer: nothing is logged, and nothing
// of the run is read or written.
[[noreturn]] void leave_at_last(const std::string& job, LastWords last) {
    const bool back = last.goes_back && !job.empty() && ask_slurm_for(job);
    const std::string text = fmt::format(
        "kiban: the time is up, and something, such as a disk, still holds this coordinator up: leaving with what is "
        "durable{}\n",
        back ? "; the job starts again" : "; submit the run again to continue it");
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    ::_exit(last.exit_code);
}

// The work of a job: out of time it is left, whatever holds it up.
int in_time(Coordinator& coordinator, const std::function<int()>& work) {
    // Where this start adds nothing, as goes_back() would have it.
    const bool may_go_back =
        starts_without_progress(read_journal(coordinator.directory.journal())) + 1 < kStartsWithoutProgress;
    LastMoment last_moment(coordinator.session->time_limit, may_go_back,
                           [job = slurm_job(current_environment())](LastWords last) { leave_at_last(job, last); });
    coordinator.session->last_moment = &last_moment;
    const int exit_code = telling_failures(coordinator, work);
    coordinator.session->last_moment = nullptr;
    return exit_code;
}

// Whether the job goes back into the queue. Where it does not though its time is up, that is told where people look.
bool goes_back(Coordinator& coordinator, Outcome& outcome) {
    if (outcome.decision.exit_code != kExitRequeue || !outcome.end.requeue) return false;
    coordinator.lease.require_current();  // before anything is written
    auto journal = read_journal(coordinator.directory.journal());
    journal.push_back(
        {{"event", "coordinator_ended"}, {"exit_code", static_cast<int>(kExitRequeue)}});  // as it will be
    const std::uint32_t starts = starts_without_progress(journal);
    if (starts < kStartsWithoutProgress) return true;
    const std::string why = fmt::format(
        "{} starts in a row ended without a checkpoint or a part of the corpus: the job is not put back into the "
        "queue; give it more time",
        starts);
    monitoring::log_error("{}", why);
    coordinator.board->journal.try_add("not_requeued", {{"starts", starts}, {"reason", why}});
    coordinator.board->status.decision = "not_requeued: " + why;
    outcome.decision.reason += "; " + why;
    return false;
}

// Says how the run ends here. A job whose time is up goes back into the queue.
int leave(Coordinator& coordinator, Outcome outcome, const char* when_done = "done") {
    const bool back = goes_back(coordinator, outcome);
    if (!back) stay_away(*coordinator.session, outcome.decision.exit_code);
    const int exit_code = conclude(coordinator, outcome, when_done);
    if (back) requeue_job(coordinator);
    return exit_code;
}

// The command that started the run says what it always said.
void take_up_changes(Coordinator& coordinator) {
    const auto journal = read_journal(coordinator.directory.journal());
    coordinator.run_file = with_live_settings(journal, coordinator.run_file);
    std::uint64_t& steps = coordinator.run_file.train.steps;
    const std::uint64_t extended = extended_steps(journal, steps);
    if (extended == steps) return;
    log_info("the run was extended from {} to {} steps while it ran", steps, extended);
    steps = extended;
    validate(coordinator.run_file);
    coordinator.board->status.steps = extended;
}

// Keeps the list beside the run, where kiban trace finds it, and tells what of it the corpus does not hold: whoever
// asks for a document to be forgotten must hear of a digit that is wrong, or of a list that is another corpus'.
void take_up_forgotten(Coordinator& coordinator, const data::Manifest& manifest) {
    const RunFile& run_file = coordinator.run_file;
    if (run_file.data.forget.empty()) {
        std::filesystem::remove(coordinator.directory.forgotten());
        return;
    }
    const auto forgotten = data::read_forgotten(run_file.base / run_file.data.forget);
    std::string lines;
    for (const data::DocumentId& id : forgotten) lines += data::to_hex(std::span(&id, 1)) + "\n";
    monitoring::publish(coordinator.directory.forgotten(), lines);
    const auto missing = data::missing_from(manifest, forgotten);
    if (missing.empty()) return;
    constexpr std::size_t kShown = 20;
    std::vector<std::string> shown;
    for (const data::DocumentId& id : missing) {
        if (shown.size() == kShown) break;
        shown.push_back(data::to_hex(std::span(&id, 1)));
    }
    coordinator.board->journal.add("forget_unknown",
                                   {{"list", run_file.data.forget}, {"count", missing.size()}, {"documents", shown}});
    monitoring::log_warning(
        "'{}' (data.forget) names {} documents that the corpus does not hold, so nothing is hidden for them: {}; ask "
        "kiban trace RUN_DIR --step S for identities",
        run_file.data.forget, missing.size(), fmt::join(shown, ", "));
}

// The corpus that the run had before is the parent of the one that it has now.
void note_parent(const Coordinator& coordinator, const data::Manifest& manifest) {
    if (!monitoring::anything_at(coordinator.directory.corpus())) return;
    const CorpusReference before = read_corpus_reference(coordinator.directory);
    if (before.digest == manifest.digest()) return;
    try {
        if (!monitoring::anything_at(before.manifest)) return;
        const data::Manifest parent = data::Manifest::load(before.manifest);
        if (parent.digest() == before.digest) data::record_parent(manifest, parent);
    } catch (const Error& error) {  // it may be gone in part, and corpora may be shared and not ours to write to
        monitoring::log_warning("the corpus '{}' does not name its parent '{}': {}", manifest.directory.string(),
                                before.manifest.string(), error.what());
    }
}

int pretrain_with(Coordinator& coordinator, const PretrainOptions& options) {
    const RunFile& run_file = coordinator.run_file;
    Board& board = *coordinator.board;
    if (options.fresh) {
        const auto moved = coordinator.directory.set_aside(coordinator.lease.attempt());
        board.journal.add("started_over", {{"moved", moved}});
    }
    take_up_changes(coordinator);
    check_resume(coordinator, nullptr);  // refuses before the corpus is prepared
    const Outcome prepared = prepare_corpus(*coordinator.session, coordinator.preparation);
    if (prepared.decision.kind != Decision::Kind::done) return leave(coordinator, prepared);
    if (const auto stop = stop_after_preparation(prepared)) {
        note_decision(*coordinator.session, stop->decision, stop->end);
        return leave(coordinator, *stop);
    }

    const auto manifest_file = coordinator.preparation.manifest_file();
    const data::Manifest manifest = data::Manifest::load(manifest_file);
    const std::string digest = manifest.digest();
    const auto newest = check_resume(coordinator, &manifest);
    take_up_forgotten(coordinator, manifest);
    note_parent(coordinator, manifest);
    write_corpus_reference(coordinator.directory, {manifest_file, digest});
    monitoring::publish(coordinator.directory.run_file(), to_toml(as_asked(*coordinator.session)));
    board.metrics().set_identity(identity_of(run_file, manifest));
    show_cleaning(board.metrics(), manifest);

    if (newest) {
        const CurveRestoration curve = restore_curve(coordinator.directory, *newest);
        if (!curve.reason.empty()) {
            board.journal.add(curve.restored ? "curve_restored" : "curve_incomplete",
                              {{"checkpoint", newest->directory.string()}, {"reason", curve.reason}});
        }
    }
    TrainProgress training{.curve = monitoring::CurveWriter(coordinator.directory.curve()),
                           .manifest = manifest_file.string(),
                           .manifest_digest = digest};
    if (newest && newest->step >= run_file.train.steps) {
        board.status.step = newest->step;
        board.status.checkpoint = newest->directory.string();
        board.status.checkpoint_step = newest->step;
        log_info("the run is finished: {} of {} steps are done; raise train.steps to go on, or start over with --fresh",
                 newest->step, run_file.train.steps);
        return leave(coordinator, {.decision = {.kind = Decision::Kind::done, .reason = "finished before"}, .end = {}});
    }
    const Outcome outcome = train(*coordinator.session, training);
    if (outcome.decision.kind == Decision::Kind::done) {
        training.curve.sync();
        write_final_report(coordinator, training);
        log_info("done: {} steps, {} tokens, loss {:.4f}, holdout loss {:.4f}", board.status.step, board.status.tokens,
                 board.status.loss, board.status.eval_loss);
        log_info("checkpoint {}", board.status.checkpoint);
        log_info("report {}", coordinator.directory.report().string());
    }
    return leave(coordinator, outcome);
}

int prepare_with(Coordinator& coordinator) {
    Outcome outcome = prepare_corpus(*coordinator.session, coordinator.preparation);
    if (outcome.decision.kind == Decision::Kind::done) {
        note_parent(coordinator, data::Manifest::load(coordinator.preparation.manifest_file()));
        outcome.decision.reason = fmt::format("the corpus is {}", coordinator.preparation.manifest_file().string());
    }
    return leave(coordinator, outcome, "prepared");
}

}  // namespace

int pretrain(const RunFile& run_file, const PretrainOptions& options) {
    Coordinator coordinator(run_file, options.take_over);
    return in_time(coordinator, [&] { return pretrain_with(coordinator, options); });
}

int prepare(const RunFile& run_file) {
    Coordinator coordinator(run_file);
    return in_time(coordinator, [&] { return prepare_with(coordinator); });
}

}  // namespace kiban::coordinator
