// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/fork_run.h"

#include <algorithm>

#include "checkpoint/commit.h"
#include "checkpoint/copy.h"
#include "checkpoint/curve.h"
#include "checkpoint/imported.h"
#include "checkpoint/reader.h"
#include "checkpoint/state.h"
#include "coordinator/config/changes.h"
#include "coordinator/config/mixture.h"
#include "coordinator/run/good_checkpoint.h"
#include "coordinator/run/history.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/lease.h"
#include "coordinator/run/reading_mark.h"
#include "coordinator/run/run_directory.h"
#include "coordinator/run/run_tokenizer.h"
#include "coordinator/run/status.h"
#include "data/tokenizer.h"
#include "monitoring/curve.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

// What is to be forked, and what it becomes.
struct Fork {
    fs::path parent;
    fs::path checkpoint;
    checkpoint::RunState state;
    RunFile saved;
    RunFile now;
};

fs::path checkpoint_of(const fs::path& parent, const std::optional<std::uint64_t>& step) {
    if (!step) return good_checkpoint(parent, "fork");
    std::string there;
    for (const auto& candidate : checkpoint::list_checkpoints(parent)) {
        if (candidate.step != *step) {
            there += fmt::format("{}{}", there.empty() ? "" : ", ", candidate.step);
        } else if (const auto fault = checkpoint::quick_fault(candidate.directory)) {
            throw CheckpointError("cannot fork '{}' at step {}: {}", parent.string(), *step, *fault);
        } else {
            return candidate.directory;
        }
    }
    throw ConfigError("cannot fork '{}' at step {}: it has no checkpoint of that step; it has {}", parent.string(),
                      *step, there.empty() ? "none at all" : "those of " + there);
}

bool sets(const std::vector<std::string>& settings, const std::string& key) {
    return std::ranges::any_of(settings, [&](const std::string& text) { return text.starts_with(key + "="); });
}

// Paths stay those of the parent, and the corpora too, so that nothing is prepared twice.
RunFile run_file_for(const ForkOptions& options, const Fork& fork) {
    fs::path run_dir = options.run_dir;
    if (run_dir.empty()) run_dir = fmt::format("{}-fork-{}", fork.parent.string(), fork.state.step);
    std::vector<std::string> settings = options.settings;
    settings.push_back("run.dir=" + fs::absolute(run_dir).lexically_normal().string());
    if (!sets(settings, "data.corpora_dir"))
        settings.push_back("data.corpora_dir=" + fork.saved.corpora_dir().string());
    return parse_run_file(fork.state.run_file, fork.parent, fork.checkpoint.string(), settings);
}

void refuse_other_tensors(const Fork& fork) {
    const auto changes = changes_of_tensors(fork.saved, fork.now);
    if (changes.empty()) return;
    throw ConfigError(
        "cannot fork '{}' at step {} with these settings:\n  {}\nthey say what the stored tensors are: leave them out, "
        "or start a run of its own",
        fork.parent.string(), fork.state.step, fmt::join(changes, "\n  "));
}

void refuse_used(const RunDirectory& directory) {
    if (!monitoring::anything_at(directory.root())) return;
    const bool used = monitoring::anything_at(directory.run_file()) || monitoring::anything_at(directory.curve()) ||
                      !checkpoint::list_checkpoints(directory.root()).empty();
    if (!used) return;
    throw ConfigError("cannot fork into '{}': it holds a run, or what is left of one; name another --run-dir",
                      directory.root().string());
}

// A tokenizer that another corpus would not give again becomes a file of the new run's own.
void keep_tokenizer(Fork& fork, const RunDirectory& directory, bool other_rows) {
    std::string& tokenizer = fork.now.data.tokenizer;
    if (tokenizer == "bytes" || (!data::Tokenizer::is_file(tokenizer) && !other_rows)) return;
    const fs::path kept = directory.root() / data::Tokenizer::kept_as(tokenizer);
    monitoring::publish(kept, tokenizer_of_run(fork.parent, fork.saved, fork.state.tokenizer_sha256).file);
    tokenizer = kept.string();
}

// So that text can be generated from the fork before it has trained.
void keep_corpus(const Fork& fork, const RunDirectory& directory) {
    const RunDirectory parent(fork.parent);
    if (monitoring::anything_at(parent.corpus())) write_corpus_reference(directory, read_corpus_reference(parent));
}

checkpoint::RunState state_for(const Fork& fork, bool other_rows) {
    checkpoint::RunState state = fork.state;
    state.seed = fork.now.run.seed;
    state.run_file = to_toml(fork.now);
    state.tokenizer = fork.now.data.tokenizer;
    state.sequence_length = fork.now.data.sequence_length;
    if (fork.now.model.attention != fork.saved.model.attention) {  // what is asked of the same rows is another thing
        state.best_eval_loss = 0;
        state.anomalies = nullptr;
    }
    if (!other_rows) return state;
    state.data_digest.clear();
    state.sources.clear();
    state.mixture.clear();
    state.position = 0;
    state.best_eval_loss = 0;
    state.anomalies = nullptr;  // losses of other text are no measure for those of this one
    KIBAN_CHECK(checkpoint::is_unbound(state), "a fork with other rows is bound to its parent's");
    return state;
}

// As the checkpoint has it; older ones have none, then as the parent's record does.
std::vector<monitoring::CurveRow> curve_of(const Fork& fork) {
    if (auto rows = checkpoint::read_curve_of(fork.checkpoint)) return std::move(*rows);
    auto rows = monitoring::read_curve(RunDirectory(fork.parent).curve()).rows;
    std::erase_if(rows, [&](const auto& row) { return row.step > fork.state.step; });
    return rows;
}

// Those that the parent left out would crash this run, too: where they are the same ones.
void hand_over_left_out(const std::vector<nlohmann::json>& parent_journal, std::uint64_t same_until, Journal& journal) {
    for (const auto& entry : left_out_entries(parent_journal)) {
        const auto first = entry.at("first").get<std::uint64_t>();
        const auto count = entry.at("count").get<std::uint64_t>();
        if (first + count <= same_until) {
            journal.add("rows_left_out", entry);
            continue;
        }
        monitoring::log_warning(
            "rows {} to {} that the parent left out are not left out: from row {} on this run's sources are mixed "
            "otherwise, and the same places hold other rows",
            first, first + count - 1, same_until);
    }
}

// What became of the rows that the parent used up, and how those to come are mixed.
void hand_over_rows(const Fork& fork, const std::vector<nlohmann::json>& parent_journal, Journal& journal) {
    auto before = recorded_mixture(parent_journal);
    if (before.empty()) before = fork.state.mixture;
    const auto mixture = mixture_of(&fork.state, fork.now, before);
    if (before.empty()) before = {mixture.front()};
    hand_over_left_out(parent_journal, same_rows_until(before, mixture), journal);
    if (mixture.size() > 1) {
        journal.add("mixture_changed", {{"position", fork.state.position},
                                        {"step", fork.state.step},
                                        {"weights", mixture.back().weights},
                                        {"mixture", data::to_json(mixture)}});
    }
    for (const RefusedBatch& batch : refused_batches(parent_journal)) {
        if (batch.rows.first < fork.state.position) journal.add("step_refused", entry_of(batch));
    }
}

void tell(const Fork& fork, const ForkResult& result, const RunDirectory& directory, const std::string& run_id,
          std::uint32_t attempt) {
    Journal journal(directory.journal());
    journal.set_attempt(attempt);
    const auto parent_journal = read_journal(RunDirectory(fork.parent).journal());
    const bool had_other_targets = other_targets(parent_journal) ||
                                   monitoring::anything_at(RunDirectory(fork.parent).forgotten()) ||
                                   fork.now.model.attention != fork.saved.model.attention;
    journal.add("forked", {{"from", fork.parent.string()},
                           {"parent", run_id_of(RunDirectory(fork.parent))},
                           {"step", result.step},
                           {"checkpoint", fork.checkpoint.filename().string()},
                           {"changes", result.changes},
                           {"other_targets", !result.other_rows && had_other_targets},
                           {"rows_from", result.other_rows ? result.step : first_step_of_rows(parent_journal)}});
    if (!result.other_rows) hand_over_rows(fork, parent_journal, journal);
    RunStatus status;
    status.run = fork.now.run.name;
    status.run_id = run_id;
    status.state = "prepared";
    status.message = fmt::format("forked from step {} of {}", result.step, fork.parent.string());
    status.attempt = attempt;
    status.step = result.step;
    status.steps = fork.now.train.steps;
    status.tokens = fork.state.tokens;
    status.checkpoint = result.checkpoint.string();
    status.checkpoint_step = result.step;
    write_status(directory.status(), status);
}

}  // namespace

ForkResult fork_run(const ForkOptions& options) {
    Fork fork;
    fork.parent = fs::absolute(options.parent).lexically_normal();
    fork.checkpoint = checkpoint_of(fork.parent, options.step);
    const ReadingMark mark(fork.checkpoint);
    fork.state = checkpoint::run_state_from_json(checkpoint::CheckpointReader(fork.checkpoint).state());
    fork.saved = parse_saved_run_file(fork.state.run_file, fork.parent, fork.checkpoint.string());
    fork.now = run_file_for(options, fork);
    refuse_other_tensors(fork);
    const RunDirectory directory(fork.now.run_dir());
    refuse_used(directory);
    monitoring::make_directories(directory.root());
    const Lease lease = Lease::acquire(directory.root());
    refuse_used(directory);  // another fork may have ended in between
    const std::string run_id = RunDirectory(directory).open_or_create();
    ForkResult result{.run_file = directory.run_file(),
                      .checkpoint = {},
                      .step = fork.state.step,
                      .changes = all_changes(fork.saved, fork.now),
                      .other_rows = changes_rows(fork.saved, fork.now),
                      .curve_rows = 0};
    keep_tokenizer(fork, directory, result.other_rows);
    if (!result.other_rows) keep_corpus(fork, directory);
    const auto rows = curve_of(fork);
    result.curve_rows = rows.size();
    if (!rows.empty()) monitoring::replace_curve(directory.curve(), rows);
    result.checkpoint = checkpoint::copy_checkpoint(fork.checkpoint, directory.root(), lease.attempt(),
                                                    checkpoint::to_json(state_for(fork, result.other_rows)),
                                                    [&lease] { return lease.is_current(); })
                            .directory;
    tell(fork, result, directory, run_id, lease.attempt());
    monitoring::publish(directory.run_file(), to_toml(fork.now));
    return result;
}

}  // namespace kiban::coordinator
