// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/run_report.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <map>

#include "checkpoint/commit.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/time_spent.h"
#include "data/manifest.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

using nlohmann::json;
using Entries = std::vector<json>;

// Of "2026-11-26T05:23:17.123Z"; nullopt when it is none.
std::optional<double> seconds_of(const json& entry) {
    const std::string text = entry.value("time", "");
    std::tm time{};
    double seconds = 0;
    if (std::sscanf(text.c_str(), "%d-%d-%dT%d:%d:%lf", &time.tm_year, &time.tm_mon, &time.tm_mday, &time.tm_hour,
                    &time.tm_min, &seconds) != 6) {
        return std::nullopt;
    }
    time.tm_year -= 1900;
    time.tm_mon -= 1;
    return static_cast<double>(::timegm(&time)) + seconds;
}

std::vector<monitoring::ReportCheckpoint> saves_of(const RunDirectory& directory, const Entries& journal) {
    std::vector<monitoring::ReportCheckpoint> saves;
    const auto there = checkpoint::list_checkpoints(directory.root());
    for (const json& entry : journal) {
        if (entry.value("event", "") != "checkpoint") continue;
        const std::string name = entry.value("directory", "");
        const bool kept = std::any_of(there.begin(), there.end(), [&](const checkpoint::CheckpointInfo& one) {
            return one.directory.filename() == name;
        });
        saves.push_back({.step = entry.value("step", std::uint64_t{0}),
                         .bytes = entry.value("bytes", std::uint64_t{0}),
                         .seconds = entry.value("seconds", 0.0),
                         .kept = kept});
    }
    return saves;
}

std::vector<std::pair<std::string, std::uint64_t>> cleaned_of(const data::CleanCounts& counts) {
    std::vector<std::pair<std::string, std::uint64_t>> out;
    for (const auto& [kind, redaction] : counts.redacted) out.emplace_back("redacted " + kind, redaction.values);
    for (const auto& [reason, documents] : counts.dropped) out.emplace_back("dropped " + reason, documents);
    return out;
}

// A corpus may have moved since: then the report says nothing of it.
std::vector<monitoring::ReportSource> sources_of(const RunDirectory& directory) {
    std::vector<monitoring::ReportSource> sources;
    if (!monitoring::anything_at(directory.corpus())) return sources;
    try {
        for (const data::ManifestSource& source :
             data::Manifest::load(read_corpus_reference(directory).manifest).sources) {
            sources.push_back({.name = source.name,
                               .documents = source.documents,
                               .input_bytes = source.input_bytes,
                               .train_tokens = source.train.tokens,
                               .holdout_tokens = source.holdout.tokens,
                               .cleaned = cleaned_of(source.cleaned)});
        }
    } catch (const Error&) {
        sources.clear();
    }
    return sources;
}

struct WorkerHours {
    double hours = 0;
    bool at_least = false;  // an attempt goes on, or nobody could say when it ended
};

struct OpenAttempt {
    std::uint32_t attempt = 0;
    double began = 0;
    double heard = 0;
    double workers = 0;
};

// Between the start of each attempt and its end. One whose coordinator was killed has no end in the journal: then until
// it was heard of last, by the journal or by a step on the curve.
WorkerHours worker_hours(const Entries& journal, const monitoring::Curve& curve) {
    std::map<std::uint32_t, double> last_steps;  // by attempt
    for (const monitoring::CurveRow& row : curve.rows)
        last_steps[row.attempt] = std::max(last_steps[row.attempt], row.wall_time);
    WorkerHours sum;
    std::optional<OpenAttempt> open;
    const auto close = [&](std::optional<double> end) {
        if (!open) return;
        if (!end) sum.at_least = true;
        const double at = end.value_or(std::max(open->heard, last_steps[open->attempt]));
        sum.hours += open->workers * std::max(0.0, at - open->began) / 3600;
        open.reset();
    };
    for (const json& entry : journal) {
        const auto at = seconds_of(entry);
        if (!at) continue;
        const std::string event = entry.value("event", "");
        if (event == "attempt_ended" || event == "coordinator_ended") close(at);
        if (event == "attempt_started" || event == "coordinator_started") close(std::nullopt);
        if (open) open->heard = *at;
        if (event == "attempt_started")
            open = OpenAttempt{entry.value("attempt", std::uint32_t{0}), *at, *at, entry.value("workers", 0.0)};
    }
    close(std::nullopt);
    return sum;
}

monitoring::Facts cost_of(const Entries& journal, const monitoring::Curve& curve, double flops_per_token,
                          const std::optional<WorkerPrice>& price) {
    monitoring::Facts facts;
    const WorkerHours spent = worker_hours(journal, curve);
    if (spent.hours > 0) {
        const char* bound = spent.at_least ? "at least " : "";
        facts.emplace_back("worker-hours", fmt::format("{}{:.4g}", bound, spent.hours));
        if (price)
            facts.emplace_back("price", fmt::format("{}{:.2f} {}", bound, spent.hours * price->amount, price->unit));
    }
    if (flops_per_token > 0 && !curve.rows.empty()) {
        const double flops = flops_per_token * static_cast<double>(curve.rows.back().tokens);
        facts.emplace_back("operations that training needed", fmt::format("{:.3g} FLOP", flops));
        double seconds = 0;
        for (const monitoring::CurveRow& row : curve.rows) seconds += row.step_seconds;
        if (seconds > 0) facts.emplace_back("while in steps", fmt::format("{:.4g} GFLOP/s", flops / seconds / 1e9));
    }
    if (curve.superseded_rows > 0)
        facts.emplace_back("steps done again after a restart", fmt::format("{}", curve.superseded_rows));
    return facts;
}

}  // namespace

// What `pretrain --fresh` set aside is another run's, though its journal is the same.
Entries since_started_over(const Entries& journal) {
    const auto last = std::find_if(journal.rbegin(), journal.rend(),
                                   [](const json& entry) { return entry.value("event", "") == "started_over"; });
    return {last.base(), journal.end()};
}

std::uint32_t first_attempt_of(const Entries& journal) {
    return journal.empty() ? 0 : journal.front().value("attempt", std::uint32_t{0});
}

monitoring::ReportRun report_of_files(const RunDirectory& directory, const std::string& name, double flops_per_token,
                                      const std::optional<WorkerPrice>& price) {
    monitoring::ReportRun report{.name = name, .curve = monitoring::read_curve(directory.curve()), .facts = {}};
    const Entries all = read_journal(directory.journal());
    for (const json& entry : all) report.events.push_back(describe(entry));
    const Entries journal = since_started_over(all);
    report.saves = saves_of(directory, journal);
    for (WorkerTime& time : read_time_spent(directory, first_attempt_of(journal)))
        report.ranks.push_back({.rank = time.rank, .host = std::move(time.host), .seconds = std::move(time.seconds)});
    report.sources = sources_of(directory);
    report.cost = cost_of(journal, report.curve, flops_per_token, price);
    return report;
}

}  // namespace kiban::coordinator
