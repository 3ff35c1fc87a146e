// SPDX-License-Identifier: Apache-2.0
// kiban rows RUN_DIR: what became of every row of the order, from the run's record; whether one came twice or was lost,
// also where the mixture changed.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/named_run.h"
#include "coordinator/cli/readable.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/row_walk.h"
#include "coordinator/run/run_order.h"
#include "data/row_ledger.h"
#include "monitoring/curve.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

struct RowsOptions {
    fs::path run_dir;
    bool targets = false;
};

struct Counted {
    data::RowLedger ledger;
    std::uint64_t trained = 0;
    std::uint64_t refused = 0;
    std::uint64_t left_out = 0;
};

Counted count_rows(const std::vector<RowSpan>& spans, const data::Corpus& corpus) {
    Counted counted{.ledger = data::RowLedger(corpus.rows_by_source())};
    for (const RowSpan& span : spans) {
        (span.fate == RowFate::trained   ? counted.trained
         : span.fate == RowFate::refused ? counted.refused
                                         : counted.left_out) += span.rows.count;
        for (std::uint64_t i = 0; i < span.rows.count; ++i) counted.ledger.use(corpus.order().at(span.rows.first + i));
    }
    return counted;
}

std::uint64_t count_targets(const std::vector<RowSpan>& spans, const data::Corpus& corpus) {
    constexpr std::uint64_t kAtOnce = 64;
    const std::uint64_t length = corpus.sequence_length();
    std::vector<std::int64_t> inputs(kAtOnce * length);
    std::vector<std::int64_t> targets(inputs.size());
    std::uint64_t count = 0;
    for (const RowSpan& span : spans) {
        if (span.fate != RowFate::trained) continue;
        for (std::uint64_t done = 0; done < span.rows.count; done += kAtOnce) {
            const std::uint64_t rows = std::min(kAtOnce, span.rows.count - done);
            const auto part = std::span(targets).first(rows * length);
            corpus.read_train({.first = span.rows.first + done, .count = rows}, std::span(inputs).first(rows * length),
                              part);
            count += part.size() - static_cast<std::uint64_t>(std::ranges::count(part, data::kMasked));
        }
    }
    return count;
}

std::uint64_t tokens_at(const RunDirectory& directory, std::uint64_t step) {
    if (step == 0) return 0;
    const monitoring::Curve curve = monitoring::read_curve(directory.curve());
    const auto row = std::ranges::find(curve.rows, step, &monitoring::CurveRow::step);
    if (row == curve.rows.end()) throw DataError("the curve of '{}' has no step {}", directory.root().string(), step);
    return row->tokens;
}

void print_mixture(const data::Manifest& manifest, const std::vector<data::MixtureSegment>& mixture,
                   const RowRecord& record) {
    for (const data::MixtureSegment& segment : mixture) {
        if (segment.first > 0 && segment.first >= record.position) continue;
        std::vector<std::string> shares;
        for (std::size_t source = 0; source < segment.weights.size(); ++source)
            shares.push_back(fmt::format("{} {}", manifest.sources[source].name, segment.weights[source]));
        fmt::print("mixture from row {} on: {}\n", count_text(segment.first), fmt::join(shares, ", "));
    }
}

void print_sources(const data::Manifest& manifest, const data::RowLedger& ledger) {
    for (std::size_t i = 0; i < ledger.sources().size(); ++i) {
        const data::SourceLedger& source = ledger.sources()[i];
        fmt::print("{}: {} epochs done, {} of {} rows of the next; {} repeated, {} lost\n", manifest.sources[i].name,
                   count_text(source.epoch + (source.used == source.rows ? 1 : 0)),
                   count_text(source.used == source.rows ? 0 : source.used), count_text(source.rows),
                   count_text(source.repeated), count_text(source.lost));
    }
}

// What the workers counted is what the rows hold.
void check_targets(const RowsOptions& options, const RunDirectory& directory, const std::vector<RowSpan>& spans,
                   const data::Corpus& corpus, const checkpoint::RunState& state, std::uint64_t first_step) {
    if (!options.targets) return;
    const std::uint64_t found = count_targets(spans, corpus);
    const std::uint64_t recorded = state.tokens - tokens_at(directory, first_step);
    fmt::print("{} targets in the rows that were trained on; {} recorded\n", count_text(found), count_text(recorded));
    if (found == recorded) return;
    throw DataError(
        "the record of '{}' does not fit its rows: expected {} targets up to step {}, as recorded, found {}",
        directory.root().string(), recorded, state.step, found);
}

void check_ledger(const RunDirectory& directory, const data::Manifest& manifest, const data::RowLedger& ledger) {
    for (std::size_t i = 0; i < ledger.sources().size(); ++i) {
        const data::SourceLedger& source = ledger.sources()[i];
        if (!source.faulty()) continue;
        throw DataError(
            "source '{}' of '{}': expected that each row came once in an epoch, found {} that came again and {} that "
            "never came",
            manifest.sources[i].name, directory.root().string(), source.repeated, source.lost);
    }
}

int rows(const RowsOptions& options) {
    const RunDirectory directory = named_run(options.run_dir);
    const auto run_file = run_file_of(directory);
    const auto state = newest_state(directory);
    if (!run_file || !state) {
        throw ConfigError("'{}' has no run file or no good checkpoint yet: no row was used", directory.root().string());
    }
    const auto journal = read_journal(directory.journal());
    const bool forgets = !run_file->data.forget.empty() || fs::exists(directory.forgotten());
    if (options.targets && (forgets || other_targets(journal))) {
        throw ConfigError(
            "cannot count the targets of '{}': its rows had others at times (data.forget, or model.attention of a "
            "fork), which is not recorded step by step; leave out --targets",
            directory.root().string());
    }
    const RowRecord record{.first_step = first_step_of_rows(journal),
                           .step = state->step,
                           .position = state->position,
                           .batch_rows = run_file->train.batch_rows,
                           .left_out = left_out_rows(journal),
                           .refused = refused_batches(journal)};
    const data::Corpus corpus = corpus_of_run(directory, *run_file);
    const std::vector<RowSpan> spans = walk_rows(record);
    const Counted counted = count_rows(spans, corpus);
    fmt::print("{} rows of the order up to step {}: {} trained on, {} refused, {} left out\n",
               count_text(record.position), record.step, count_text(counted.trained), count_text(counted.refused),
               count_text(counted.left_out));
    print_mixture(corpus.manifest(), mixture_of_run(directory, *run_file), record);
    print_sources(corpus.manifest(), counted.ledger);
    check_targets(options, directory, spans, corpus, *state, record.first_step);
    check_ledger(directory, corpus.manifest(), counted.ledger);
    fmt::print("no row came twice in an epoch, and none is missing from an epoch that is over\n");
    return kExitDone;
}

}  // namespace

void add_rows_command(CLI::App& app, int& exit_code) {
    CLI::App* command =
        app.add_subcommand("rows", "whether a row of an epoch came twice or was lost, also where the mixture changed");
    auto options = std::make_shared<RowsOptions>();
    command->add_option("RUN_DIR", options->run_dir, "run directory")->required();
    command->add_flag("--targets", options->targets, "also read the rows and compare their targets with the record");
    command->callback([options, &exit_code] { exit_code = rows(*options); });
}

}  // namespace kiban::coordinator
