// SPDX-License-Identifier: Apache-2.0
#include "coordinator/cli/named_run.h"

#include <chrono>

#include "checkpoint/commit.h"
#include "coordinator/cli/readable.h"
#include "coordinator/config/vocabulary.h"
#include "coordinator/job/inventory.h"
#include "coordinator/run/curve_events.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/lease.h"
#include "data/manifest.h"
#include "data/tokenizer.h"
#include "monitoring/curve.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

double now_seconds() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

bool says_ended(const std::string& state) {
    return state == "done" || state == "prepared" || state == "failed" || state == "stopped";
}

Life life_of(const RunDirectory& directory, const std::string& state) {
    const LeaseOwner owner = lease_owner(directory.root());
    if (owner.epoch == 0) return Life::none;
    if (owner.here && owner.alive) return Life::running;
    if (says_ended(state)) return Life::ended;
    return owner.here ? Life::dead : Life::unknown;
}

// After a crash status.json may be older than what is durable.
void bring_up_to_date(const RunDirectory& directory, RunStatus& status) {
    const auto curve = monitoring::read_curve(directory.curve());
    if (!curve.rows.empty()) {
        const auto& last = curve.rows.back();
        if (status.step != last.step || status.phase.empty()) show_curve(status, curve.rows);
        status.step = last.step;
        status.tokens = last.tokens;
        if (!monitoring::without_targets(last)) status.loss = last.loss;
        status.learning_rate = last.learning_rate;
    }
    for (const auto& row : curve.rows) {
        if (row.eval_loss == row.eval_loss) status.eval_loss = row.eval_loss;
    }
    const auto checkpoints = checkpoint::list_checkpoints(directory.root());
    if (!checkpoints.empty()) {
        status.checkpoint = checkpoints.front().directory.string();
        status.checkpoint_step = checkpoints.front().step;
    }
    status.tokens_per_second = 0;
    status.eta_seconds = 0;
    status.workers.clear();
    status.metrics.clear();
}

// The file of a tokenizer may be gone since; the corpus that it made is not, or the run could not go on.
std::int64_t vocabulary_of_run(const RunDirectory& directory, const RunFile& file) {
    if (file.model.vocabulary != 0) return file.model.vocabulary;
    if (const auto known = data::Tokenizer::vocabulary_of(file.data.tokenizer)) return *known;
    if (!fs::exists(directory.corpus())) return vocabulary_of(file);
    return data::Manifest::load(read_corpus_reference(directory).manifest).vocabulary;
}

}  // namespace

RunDirectory named_run(const fs::path& directory) {
    if (!monitoring::directory_at(directory)) {
        throw IoError("cannot read run directory '{}': there is no such directory", directory.string());
    }
    RunDirectory run(fs::absolute(directory).lexically_normal());
    for (const fs::path& file :
         {run.identity(), run.run_file(), run.journal(), run.root() / "ckpt", run.root() / "lease"}) {
        if (monitoring::anything_at(file)) return run;
    }
    throw IoError(
        "'{}' is no run directory: expected run.json, run.toml, journal.jsonl or ckpt/ in it, found none of them",
        directory.string());
}

bool is_checkpoint(const fs::path& directory) {
    return fs::exists(directory / "COMMIT") || fs::exists(directory / "MANIFEST.json");
}

std::string name_of(const RunDirectory& directory) {
    if (const auto run_file = run_file_of(directory)) return run_file->run.name;
    fs::path root = directory.root();
    if (!root.has_filename()) root = root.parent_path();
    return root.filename().string();
}

RunView view_run(const RunDirectory& directory) {
    RunView view;
    auto written = read_status(directory.status());
    if (written) view.status = *written;
    view.life = life_of(directory, view.status.state);
    if (view.life == Life::dead) {  // unless it has said its last word since
        written = read_status(directory.status());
        if (written) view.status = *written;
        view.life = life_of(directory, view.status.state);
    }
    if (written) view.silence_seconds = std::max(0.0, now_seconds() - written->wall_time);
    if (!written) {
        view.status.run = name_of(directory);
        view.status.state = view.life == Life::none ? "not started" : "starting";
        if (const auto run_file = run_file_of(directory)) view.status.steps = run_file->train.steps;
    }
    if (view.life != Life::running && view.life != Life::unknown) bring_up_to_date(directory, view.status);
    return view;
}

monitoring::ReportRun report_of(const RunDirectory& directory, const std::optional<WorkerPrice>& price) {
    const auto file = run_file_of(directory);
    ModelSize size;
    if (file) size = model_size(file->model, vocabulary_of_run(directory, *file), file->data.sequence_length);
    monitoring::ReportRun report = report_of_files(directory, name_of(directory), size.flops_per_token, price);
    const RunStatus status = view_run(directory).status;
    if (file) {
        const ModelConfig& model = file->model;
        report.facts = {
            {"model", fmt::format("{} {}x{}", model.layout == ModelLayout::gpt2 ? "gpt2" : "llama", model.layers,
                                  model.d_model)},
            {"parameters", count_text(size.total)},
            {"batch", fmt::format("{} rows of {} tokens", file->train.batch_rows, file->data.sequence_length)},
            {"workers", fmt::format("{} of {} threads", file->launch.workers, file->launch.threads_per_worker)},
            {"seed", fmt::format("{}", file->run.seed)}};
    }
    report.facts.emplace_back("state", status.state);
    report.facts.emplace_back(
        "steps", status.steps == 0 ? count_text(status.step)
                                   : fmt::format("{} of {}", count_text(status.step), count_text(status.steps)));
    report.facts.emplace_back("tokens", count_text(status.tokens));
    if (fs::exists(directory.corpus()))
        report.facts.emplace_back("corpus", read_corpus_reference(directory).digest.substr(0, 16));
    if (!status.checkpoint.empty()) report.facts.emplace_back("last checkpoint", status.checkpoint);
    if (!status.run_id.empty()) report.facts.emplace_back("run id", status.run_id);
    return report;
}

}  // namespace kiban::coordinator
