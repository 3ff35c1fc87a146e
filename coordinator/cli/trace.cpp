// SPDX-License-Identifier: Apache-2.0
// kiban trace RUN_DIR --step S | --document ID: which documents a step learned from, and which steps and checkpoints
// saw a document.
#include "data/trace.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "checkpoint/commit.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/named_run.h"
#include "coordinator/cli/readable.h"
#include "coordinator/run/history.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "coordinator/run/run_order.h"
#include "data/corpus.h"
#include "data/forgotten.h"
#include "data/manifest.h"
#include "monitoring/curve.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

struct TraceOptions {
    fs::path run_dir;
    std::uint64_t step = 0;  // from 1: the update that made it
    std::string document;
};

// Wrong evidence is worse than none: behind a refused step, or rows that were left out, a step's number does not say
// its rows. Returns the step after which the run's own rows begin.
std::uint64_t require_order(const RunDirectory& directory, std::uint64_t step, std::uint64_t batch_rows) {
    const auto journal = read_journal(directory.journal());
    const std::uint64_t first = first_step_of_rows(journal);
    const std::uint64_t rows = rows_in_order(journal);
    if (step <= first || step - first <= rows / batch_rows) return first;
    throw DataError(
        "cannot trace step {} of '{}': expected a run whose steps took the rows of the order one after the other, "
        "found rows refused or left out from row {} on (its journal's step_refused and rows_left_out); steps up to {} "
        "can be traced",
        step, directory.root().string(), rows, first + rows / batch_rows);
}

RunFile run_file_of_run(const RunDirectory& directory) {
    std::optional<RunFile> run_file = run_file_of(directory);
    if (!run_file) throw ConfigError("'{}' has no run file yet: nothing to trace", directory.root().string());
    return std::move(*run_file);
}

// Step S applies the rows (S - 1) B .. S B - 1 of the order, counted from the step after which they begin.
void trace_step(std::uint64_t step, const RunFile& run_file, const data::Corpus& corpus) {
    data::CorpusTrace trace(corpus);
    const std::uint64_t rows = run_file.train.batch_rows;
    for (std::uint64_t i = 0; i < rows; ++i) {
        const data::TracedRow row = trace.row_at((step - 1) * rows + i);
        fmt::print("row {}  position {}  {}  epoch {}  row {} of it\n", i, row.position,
                   corpus.manifest().sources[row.row.source].name, row.row.epoch, row.row.row);
        for (const data::TracedPart& part : row.parts) {
            fmt::print("  {}  {} tokens  {}:{}  {} token {}\n", part.document, part.tokens, part.file, part.record,
                       part.shard, part.first);
        }
    }
}

// "3, 17-19".
std::string ranges_text(const std::vector<std::uint64_t>& steps) {
    std::string text;
    for (std::size_t i = 0; i < steps.size();) {
        std::size_t last = i;
        while (last + 1 < steps.size() && steps[last + 1] == steps[last] + 1) ++last;
        if (!text.empty()) text += ", ";
        text += last == i ? fmt::format("{}", steps[i]) : fmt::format("{}-{}", steps[i], steps[last]);
        i = last + 1;
    }
    return text.empty() ? "none" : text;
}

std::uint64_t steps_done(const RunDirectory& directory) {
    std::uint64_t done = 0;
    if (fs::exists(directory.curve())) {
        const monitoring::Curve curve = monitoring::read_curve(directory.curve());
        if (!curve.rows.empty()) done = curve.rows.back().step;
    }
    for (const auto& info : checkpoint::list_checkpoints(directory.root())) done = std::max(done, info.step);
    return done;
}

int trace_document(const std::string& id, const RunDirectory& directory, const RunFile& run_file,
                   const data::Corpus& corpus) {
    data::CorpusTrace trace(corpus);
    const std::vector<data::TracedDocument> places = trace.find(id);
    if (places.empty()) {
        fmt::print("the corpus holds no document {}\n", id);
        return kExitData;
    }
    if (forgotten_by(directory).contains(data::ids_from_hex(id).at(0)))
        fmt::print("forgotten: since the run last started its tokens are not read\n");
    const std::uint64_t done = steps_done(directory);
    const std::uint64_t first = require_order(directory, done, run_file.train.batch_rows);
    const std::uint64_t own_steps = done > first ? done - first : 0;
    std::vector<std::uint64_t> steps;
    for (const data::TracedDocument& place : places) {
        fmt::print("{}{}  {} tokens  {}:{}  {} token {}\n", corpus.manifest().sources[place.source].name,
                   place.held_out ? " (held out)" : "", place.end - place.begin, place.part.file, place.part.record,
                   place.part.shard, place.part.first);
        for (const std::uint64_t position : trace.positions_of(place, own_steps * run_file.train.batch_rows))
            steps.push_back(first + position / run_file.train.batch_rows + 1);
    }
    std::ranges::sort(steps);
    steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
    fmt::print("seen by {} of {} steps: {}\n", count_text(steps.size()), count_text(own_steps), ranges_text(steps));
    if (first > 0) {
        fmt::print(
            "these are the run's own steps, from {} on; before that it was another run, with other rows: ask it\n",
            first + 1);
    }
    for (const auto& info : checkpoint::list_checkpoints(directory.root())) {
        const bool saw = !steps.empty() && steps.front() <= info.step;
        const char* not_seen = first > 0 ? "did not see it since the fork" : "did not see it";
        fmt::print("checkpoint {}: {}\n", info.directory.filename().string(), saw ? "saw it" : not_seen);
    }
    return kExitDone;
}

int trace(const TraceOptions& options) {
    const RunDirectory directory = named_run(options.run_dir);
    const RunFile run_file = run_file_of_run(directory);
    const data::Corpus corpus = corpus_of_run(directory, run_file);
    if (!options.document.empty()) return trace_document(options.document, directory, run_file, corpus);
    if (options.step == 0)
        throw UsageError("--step is 0, expected at least 1: the update that makes step 1 is the first");
    const std::uint64_t first = require_order(directory, options.step, run_file.train.batch_rows);
    if (options.step <= first) {
        throw DataError("cannot trace step {} of '{}': the run was forked from step {} with other rows; ask its parent",
                        options.step, directory.root().string(), first);
    }
    trace_step(options.step - first, run_file, corpus);
    return kExitDone;
}

}  // namespace

void add_trace_command(CLI::App& app, int& exit_code) {
    CLI::App* command =
        app.add_subcommand("trace", "which documents a step learned from; which steps and checkpoints saw a document");
    auto options = std::make_shared<TraceOptions>();
    command->add_option("RUN_DIR", options->run_dir, "run directory")->required();
    auto* what = command->add_option_group("what");
    what->add_option("--step", options->step, "the rows of this step and the documents in them");
    what->add_option("--document", options->document, "32 hex digits, as --step prints them");
    what->require_option(1);
    command->callback([options, &exit_code] { exit_code = trace(*options); });
}

}  // namespace kiban::coordinator
