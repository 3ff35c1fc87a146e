// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/start.h"

#include <fmt/chrono.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <ctime>
#include <exception>

#include "checkpoint/imported.h"
#include "checkpoint/reader.h"
#include "checkpoint/state.h"
#include "coordinator/config/changes.h"
#include "coordinator/config/vocabulary.h"
#include "coordinator/job/inventory.h"
#include "coordinator/job/version.h"
#include "coordinator/launch/launch_facts.h"
#include "coordinator/launch/launcher.h"
#include "coordinator/protocol/wire.h"
#include "coordinator/run/hosts_in_use.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/upkeep.h"
#include "data/digest.h"
#include "data/forgotten.h"
#include "data/holdout_bytes.h"
#include "data/tokenizer.h"
#include "monitoring/curve.h"
#include "monitoring/error.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

// Refuses what would fail at the first attempt anyway, before a run directory is made.
RunDirectory checked_directory(const RunFile& run_file) {
    data::check_retention(run_file.data, fmt::format("{:%F}", fmt::gmtime(std::time(nullptr))));
    if (!run_file.data.forget.empty()) data::read_forgotten(run_file.base / run_file.data.forget);
    worker_executable();
    choose_launcher(run_file.launch.launcher, current_environment());
    refuse_login_node(run_file.launch.launcher, current_environment());
    // Nodes of one machine, as in tests, do reach it: so it is no refusal.
    const int nodes = nodes_of_job(current_environment());
    if (const auto fault = fault_of_interface(run_file.launch.control_interface, nodes); !fault.empty())
        monitoring::log_warning("{}", fault);
    return RunDirectory(run_file.run_dir());
}

// Whether the run began with weights that came from elsewhere (`kiban import`, `kiban fork`), as the journal has it.
bool holds_import(const RunDirectory& directory) {
    bool imported = false;
    for (const nlohmann::json& entry : read_journal(directory.journal())) {
        const std::string event = entry.value("event", "");
        if (event == "imported" || event == "forked") imported = true;
        if (event == "started_over") imported = false;
    }
    return imported;
}

// A run that has trained has checkpoints: without them it would start again at step 0, which only --fresh may do.
void refuse_lost_checkpoints(const RunDirectory& directory) {
    const auto curve = monitoring::read_curve(directory.curve());
    if (curve.rows.empty() && holds_import(directory)) {
        throw CheckpointError(
            "cannot train '{}': its weights came from elsewhere, but '{}' holds no checkpoint; restore it, import or "
            "fork "
            "again, or start from random weights with --fresh",
            directory.root().string(), (directory.root() / "ckpt").string());
    }
    if (curve.rows.empty()) return;
    throw CheckpointError(
        "cannot resume '{}': its curve ends at step {}, but '{}' holds no checkpoint; restore it, or start over with "
        "--fresh",
        directory.root().string(), curve.rows.back().step, (directory.root() / "ckpt").string());
}

TimeLimit time_limit_of(const LaunchConfig& launch) {
    const double wall = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    const double now = monotonic_seconds();
    const TimeLimit limit = TimeLimit::of(launch, job_end_time(current_environment()), wall, now);
    if (std::isfinite(limit.seconds_left(now)))
        monitoring::log_info("{:.1f} min are left; the run saves and leaves in time for that",
                             limit.seconds_left(now) / 60);
    return limit;
}

// Told from the file that the run file names, before a corpus is prepared with it.
void refuse_other_tokenizer(const Coordinator& coordinator, const checkpoint::RunState& state, std::uint64_t step) {
    const RunFile& run_file = coordinator.run_file;
    if (!data::Tokenizer::is_file(run_file.data.tokenizer)) return;
    const auto now = data::Tokenizer::from_file(run_file.base / run_file.data.tokenizer).sha256();
    if (now == state.tokenizer_sha256) return;
    throw ConfigError(
        "cannot resume '{}' from step {}: the tokenizer '{}' has changed (digest: saved {}, now {}); restore it, name "
        "another --run-dir, or start over with --fresh",
        coordinator.directory.root().string(), step, run_file.data.tokenizer, state.tokenizer_sha256, now);
}

// Sources may have been added behind those that were read.
void refuse_other_corpus(const Coordinator& coordinator, const checkpoint::RunState& state, std::uint64_t step,
                         const data::Manifest& prepared) {
    const std::string digest = prepared.digest();
    std::vector<std::string> sources;
    for (const data::ManifestSource& source : prepared.sources) sources.push_back(source.id);
    if (checkpoint::is_unbound(state) || checkpoint::goes_on_with(state, digest, sources)) return;
    throw ConfigError(
        "cannot resume '{}' from step {}: the corpus has changed (manifest digest: saved {}, now {}), and its first "
        "sources are not those that the run was trained on; restore the data, name another --run-dir, or start over "
        "with --fresh",
        coordinator.directory.root().string(), step, state.data_digest, digest);
}

Lease take_lease(const RunDirectory& directory, bool take_over) {
    monitoring::make_directories(directory.root());
    return Lease::acquire(directory.root(), {}, take_over);
}

void tell_of_take_over(Board& board, const Overtaken& other) {
    board.journal.try_add(
        "taken_over",
        {{"host", other.host}, {"pid", other.pid}, {"from_attempt", other.epoch}, {"let_go", other.let_go}});
    const std::string whom = fmt::format("process {} on host '{}' (attempt {})", other.pid, other.host, other.epoch);
    if (other.let_go) {
        monitoring::log_info("the run was taken from {}, which has ended", whom);
    } else {
        monitoring::log_warning(
            "the run was taken from {}, which has not ended: it is stopped or cut off, may still hold its processors, "
            "and can publish nothing any more",
            whom);
    }
}

}  // namespace

monitoring::RunIdentity identity_of(const RunFile& run_file, const std::string& data_digest) {
    const ModelConfig& model = run_file.model;
    const ModelSize size = model_size(model, vocabulary_of(run_file), run_file.data.sequence_length);
    return {.run = run_file.run.name,
            .model = fmt::format("{} {}x{}", model.layout == ModelLayout::gpt2 ? "gpt2" : "llama", model.layers,
                                 model.d_model),
            .config_hash = data::sha256(to_toml(run_file)).substr(0, 16),
            .data_hash = data_digest.substr(0, 16),
            .version = version(),
            .seed = run_file.run.seed,
            .parameters_total = size.total,
            .parameters_non_embedding = size.non_embedding,
            .target_steps = run_file.train.steps,
            .flops_per_token = size.flops_per_token,
            .peak_flops = run_file.monitoring.peak_flops};
}

monitoring::RunIdentity identity_of(const RunFile& run_file, const data::Manifest& manifest) {
    monitoring::RunIdentity identity = identity_of(run_file, manifest.digest());
    for (const data::ManifestSource& source : manifest.sources) identity.train_tokens += source.train.tokens;
    identity.holdout_bytes_per_token = data::holdout_bytes_per_token(manifest);
    return identity;
}

Coordinator::Coordinator(const RunFile& given, bool take_over)
    : run_file(given),
      directory(checked_directory(given)),
      preparation(given.data, given.base, given.corpora_dir()),
      lease(take_lease(directory, take_over)),
      run_id(directory.open_or_create()),
      requests(directory.root()),
      console(std::make_shared<Console>(::isatty(STDOUT_FILENO) == 1)) {
    monitoring::make_directories(directory.logs());
    monitoring::start_log({.who = "coordinator", .file = directory.logs() / "coordinator.log", .to_stderr = false});
    show_log_on(console);
    board = std::make_unique<Board>(directory, identity_of(run_file, ""), run_file.monitoring.listen,
                                    [this] { return lease.is_current(); });
    board->status.run_id = run_id;
    board->status.attempt = lease.attempt();
    board->journal.set_attempt(lease.attempt());
    board->journal.add("coordinator_started", {{"run", run_id}, {"pid", ::getpid()}, {"version", version()}});
    if (lease.overtaken()) tell_of_take_over(*board, *lease.overtaken());
    session = std::make_unique<Session>(Session{.run_file = run_file,
                                                .directory = directory,
                                                .run_id = run_id,
                                                .lease = lease,
                                                .signals = signals,
                                                .board = *board,
                                                .console = *console,
                                                .requests = requests,
                                                .time_limit = time_limit_of(run_file.launch),
                                                .asked_workers = run_file.launch.workers});
    monitoring::log_info("run '{}' in {}{}", run_file.run.name, directory.root().string(),
                         board->status.metrics.empty() ? "" : ", metrics at " + board->status.metrics);
    take_up_left_out_hosts(*session);
}

std::optional<checkpoint::CheckpointInfo> check_resume(Coordinator& coordinator, const data::Manifest* prepared) {
    auto newest = checkpoint_to_load(coordinator.directory, *coordinator.board);
    if (!newest) {
        refuse_lost_checkpoints(coordinator.directory);
        return std::nullopt;
    }
    const checkpoint::CheckpointReader reader(newest->directory);
    const checkpoint::RunState state = checkpoint::run_state_from_json(reader.state());
    const RunFile saved = parse_saved_run_file(state.run_file, coordinator.run_file.base, newest->directory.string());
    // Of imported weights nothing was trained: only what says what the weights are is fixed.
    const auto forbidden = checkpoint::is_import(state) ? changes_of_import(saved, coordinator.run_file)
                                                        : forbidden_changes(saved, coordinator.run_file);
    if (!forbidden.empty()) {
        throw ConfigError(
            "cannot resume '{}' from step {} with this run file:\n  {}\nundo the change, name another --run-dir, "
            "start over with --fresh, or start a new run from this checkpoint: kiban fork {} --step {} --set KEY=VALUE",
            coordinator.directory.root().string(), newest->step, fmt::join(forbidden, "\n  "),
            coordinator.directory.root().string(), newest->step);
    }
    refuse_other_tokenizer(coordinator, state, newest->step);
    if (prepared != nullptr) refuse_other_corpus(coordinator, state, newest->step, *prepared);
    const auto changes = all_changes(saved, coordinator.run_file);
    if (!changes.empty() && prepared != nullptr) {  // told once: of the two calls of a start, by the second
        coordinator.board->journal.add("run_file_changed", {{"changes", changes}});
        for (const std::string& change : changes) monitoring::log_info("run file changed: {}", change);
    }
    return newest;
}

int conclude(Coordinator& coordinator, const Outcome& outcome, const char* when_done) {
    coordinator.lease.require_current();  // status and journal would be another's
    const Decision& decision = outcome.decision;
    Board& board = *coordinator.board;
    switch (decision.kind) {
        case Decision::Kind::done: board.set_state(when_done, decision.reason); break;
        case Decision::Kind::restart:
            throw InternalError("a run was concluded that was to be restarted: {}", decision.reason);
        case Decision::Kind::stop:
            board.set_state(decision.exit_code == kExitRequeue ? "stopped" : "failed", decision.reason);
            if (decision.exit_code == kExitRequeue) {
                monitoring::log_info("{}; the same command continues the run (exit code {})", decision.reason,
                                     decision.exit_code);
            } else {
                monitoring::log_error("{} (exit code {})", decision.reason, decision.exit_code);
            }
    }
    answer_open_requests(coordinator.requests, decision.reason,
                         /*stopped=*/outcome.end.finished || outcome.end.interrupted);
    board.journal.try_add(
        "coordinator_ended",
        {{"state", board.status.state}, {"exit_code", decision.exit_code}, {"reason", decision.reason}});
    return decision.exit_code;
}

namespace {

void write_down(Coordinator& coordinator, const std::exception& failure) {
    try {
        if (!coordinator.lease.is_current()) return;  // status and journal tell of its new owner
        const std::string reason = failure.what();
        answer_open_requests(coordinator.requests, reason, /*stopped=*/false);
        coordinator.board->set_state("failed", reason);
        coordinator.board->journal.add("coordinator_ended",
                                       {{"state", "failed"}, {"exit_code", exit_code_of(failure)}, {"reason", reason}});
    } catch (const std::exception& also) {
        monitoring::log_error("cannot write down that the run failed: {}", also.what());
    }
}

}  // namespace

int telling_failures(Coordinator& coordinator, const std::function<int()>& work) {
    try {
        return work();
    } catch (const std::exception& failure) {
        stay_away(*coordinator.session, exit_code_of(failure));
        write_down(coordinator, failure);
        throw;
    }
}

}  // namespace kiban::coordinator
