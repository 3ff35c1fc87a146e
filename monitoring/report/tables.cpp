// SPDX-License-Identifier: Apache-2.0
#include "monitoring/report/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "monitoring/plot.h"
#include "monitoring/report/assets.h"

namespace kiban::monitoring {
namespace {

constexpr std::size_t kMostRanks = 64;
constexpr std::size_t kMostSaves = 50;

std::optional<double> median(std::vector<double> values) {
    if (values.empty()) return std::nullopt;
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

std::string thousands(std::uint64_t value) {
    std::string text = std::to_string(value);
    for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, 1, ',');
    return text;
}

std::string or_dash(const std::optional<double>& value) { return value ? fmt::format("{:.5g}", *value) : "–"; }

std::string seconds_text(double seconds) {
    if (seconds >= 3600) return fmt::format("{:.1f} h", seconds / 3600);
    return seconds >= 60 ? fmt::format("{:.1f} min", seconds / 60) : fmt::format("{:.1f} s", seconds);
}

std::string size_text(std::uint64_t bytes) {
    const auto value = static_cast<double>(bytes);
    if (value >= 1e9) return fmt::format("{:.2f} GB", value / 1e9);
    return value >= 1e6 ? fmt::format("{:.1f} MB", value / 1e6) : fmt::format("{:.1f} kB", value / 1e3);
}

struct Summary {
    std::optional<double> loss;
    std::optional<double> best_eval;
    std::uint64_t best_eval_step = 0;
    std::optional<double> rate;
    double seconds = 0;
};

Summary summarize(const CurveRows& rows) {
    Summary summary;
    std::vector<double> rates;
    std::uint64_t targets = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        summary.seconds += rows[i].step_seconds;
        if (const auto rate = tokens_per_second(rows, i)) rates.push_back(*rate);
        if (rows[i].eval_targets != 0) {  // another holdout's losses are no measure for this one's
            if (targets != 0 && rows[i].eval_targets != targets) summary.best_eval.reset();
            targets = rows[i].eval_targets;
        }
        if (std::isfinite(rows[i].eval_loss) && rows[i].eval_loss < summary.best_eval.value_or(HUGE_VAL)) {
            summary.best_eval = rows[i].eval_loss;
            summary.best_eval_step = rows[i].step;
        }
    }
    for (std::size_t i = rows.size(); i > 0 && !summary.loss; --i)
        if (!without_targets(rows[i - 1])) summary.loss = rows[i - 1].loss;
    summary.rate = median(std::move(rates));
    return summary;
}

// --- Where the time went ---

struct ShownPhase {
    const char* word;
    const char* name;
    std::size_t color;
};
// In the order of a step; what is none of them counts as the last.
constexpr std::array<ShownPhase, 9> kShown = {{{"data", "data", 6},
                                               {"forward", "forward", 0},
                                               {"backward", "backward", 4},
                                               {"reduce", "communication", 1},
                                               {"optimizer", "optimizer", 2},
                                               {"evaluate", "evaluation", 3},
                                               {"save", "checkpoint", 5},
                                               {"prepare", "corpus", 6},
                                               {"", "start and end", 7}}};
using PhaseSeconds = std::array<double, kShown.size()>;

PhaseSeconds shown_seconds(const ReportRankTime& rank) {
    PhaseSeconds seconds{};
    for (const auto& [phase, value] : rank.seconds) {
        const auto* found = std::find_if(kShown.begin(), kShown.end() - 1,
                                         [&](const ShownPhase& shown) { return phase == shown.word; });
        seconds.at(static_cast<std::size_t>(found - kShown.begin())) += value;
    }
    return seconds;
}

double sum_of(const PhaseSeconds& seconds) { return std::accumulate(seconds.begin(), seconds.end(), 0.0); }

std::string rank_bar(const ReportRankTime& rank) {
    const PhaseSeconds seconds = shown_seconds(rank);
    const double all = std::max(sum_of(seconds), 1e-9);
    std::string out = fmt::format("<span class=\"who\" title=\"{}\">rank {}</span><div class=\"stack\">",
                                  escape_html(rank.host), rank.rank);
    for (std::size_t i = 0; i < kShown.size(); ++i) {
        if (!(seconds[i] > 0)) continue;
        out +=
            fmt::format("<i class=\"run-{}\" style=\"width:{:.2f}%\" title=\"{}: {}, {:.1f} %\"></i>", kShown[i].color,
                        100 * seconds[i] / all, kShown[i].name, seconds_text(seconds[i]), 100 * seconds[i] / all);
    }
    return out + fmt::format("</div><span class=\"sum\">{}</span>\n", seconds_text(all));
}

// --- Parts that open ---

std::string section(const std::string& run, const std::string& what, const std::string& content, bool open = false) {
    return fmt::format("<details class=\"card\"{}><summary>{}: {}</summary>\n{}</details>\n", open ? " open" : "",
                       escape_html(run), what, content);
}

std::string facts_list(const Facts& facts) {
    std::string out = "<dl>\n";
    for (const auto& [key, value] : facts)
        out += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape_html(key), escape_html(value));
    return out + "</dl>\n";
}

std::string list_of(const std::vector<std::string>& items) {
    std::string out = "<ol>\n";
    for (const std::string& item : items) out += fmt::format("<li>{}</li>\n", escape_html(item));
    return out + "</ol>\n";
}

std::string sources_table(const ReportRun& run) {
    std::uint64_t train = 0;
    std::string rows;
    for (const ReportSource& source : run.sources) {
        train += source.train_tokens;
        rows += fmt::format("<tr><td class=\"name\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                            escape_html(source.name), thousands(source.documents), size_text(source.input_bytes),
                            short_number(static_cast<double>(source.train_tokens)),
                            short_number(static_cast<double>(source.holdout_tokens)));
    }
    std::string out =
        "<div class=\"scroll\"><table><tr><th>Source</th><th>Documents</th><th>Bytes read</th><th>Tokens to train "
        "on</th><th>Tokens held out</th></tr>\n" +
        rows + "</table></div>\n";
    Facts facts;
    if (train > 0 && !run.curve.rows.empty()) {
        const double passes = static_cast<double>(run.curve.rows.back().tokens) / static_cast<double>(train);
        facts.emplace_back("passes over the corpus", fmt::format("{:.3g}", passes));
    }
    for (const ReportSource& source : run.sources) {
        std::string cleaned;
        for (const auto& [reason, count] : source.cleaned)
            cleaned += fmt::format("{}{} {}", cleaned.empty() ? "" : ", ", reason, thousands(count));
        if (!cleaned.empty()) facts.emplace_back("taken out of " + source.name, cleaned);
    }
    return facts.empty() ? out : out + facts_list(facts);
}

std::string saves_table(const ReportRun& run) {
    std::string out =
        "<div class=\"scroll\"><table><tr><th>Step</th><th>Size</th><th>Took</th><th>Still there</th></tr>\n";
    const std::size_t first = run.saves.size() > kMostSaves ? run.saves.size() - kMostSaves : 0;
    for (std::size_t i = run.saves.size(); i > first; --i) {
        const ReportCheckpoint& save = run.saves[i - 1];
        out += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n", thousands(save.step),
                           size_text(save.bytes), seconds_text(save.seconds), save.kept ? "yes" : "no");
    }
    return out + "</table></div>\n";
}

std::string phases_list(const CurveStory& story) {
    std::vector<std::string> items;
    for (const auto& [step, phase] : story.phases)
        items.push_back(fmt::format("from step {}: {}", step, detect::word_of(phase)));
    return list_of(items);
}

}  // namespace

std::string summary_table(const std::vector<ReportRun>& runs) {
    std::string out =
        "<section class=\"card scroll summary\"><table><tr><th>Run</th><th>Steps</th><th>Tokens</th><th>Training "
        "loss</th><th>Best holdout loss</th><th>Tokens/s</th><th>Time in steps</th><th>Repeated steps</th></tr>\n";
    for (std::size_t i = 0; i < runs.size(); ++i) {
        const CurveRows& rows = runs[i].curve.rows;
        const Summary summary = summarize(rows);
        const std::string best =
            summary.best_eval ? fmt::format("{:.4f} at {}", *summary.best_eval, thousands(summary.best_eval_step))
                              : "–";
        out += fmt::format("<tr class=\"run-{}\"><td class=\"value\">{}</td>", i % kReportColors,
                           escape_html(runs[i].name));
        for (const std::string& cell :
             {rows.empty() ? std::string("0") : thousands(rows.back().step),
              rows.empty() ? std::string("0") : short_number(static_cast<double>(rows.back().tokens)),
              or_dash(summary.loss), best, summary.rate ? short_number(std::round(*summary.rate)) : std::string("–"),
              seconds_text(summary.seconds), thousands(runs[i].curve.superseded_rows)}) {
            out += fmt::format("<td class=\"value\">{}</td>", cell);
        }
        out += "</tr>\n";
    }
    return out + "</table></section>\n";
}

std::string time_by_rank(const ReportRun& run) {
    if (run.ranks.empty()) return {};
    std::vector<ReportRankTime> ranks = run.ranks;
    PhaseSeconds all{};
    for (const ReportRankTime& rank : ranks) {
        const PhaseSeconds seconds = shown_seconds(rank);
        for (std::size_t i = 0; i < seconds.size(); ++i) all[i] += seconds[i];
    }
    const auto waited = [](const ReportRankTime& rank) {
        const auto found = rank.seconds.find("reduce");
        return found == rank.seconds.end() ? 0.0 : found->second;
    };
    std::string left_out;
    if (ranks.size() > kMostRanks) {
        std::stable_sort(ranks.begin(), ranks.end(),
                         [&](const auto& one, const auto& other) { return waited(one) < waited(other); });
        left_out = fmt::format("the {} of {} ranks that waited least", kMostRanks, ranks.size());
        ranks.resize(kMostRanks);
    }
    std::string keys;
    for (std::size_t i = 0; i < kShown.size(); ++i) {
        if (!(all[i] > 0)) continue;
        keys += fmt::format("<span class=\"key run-{}\"><i class=\"box\"></i>{} {:.1f} %</span>", kShown[i].color,
                            kShown[i].name, 100 * all[i] / sum_of(all));
    }
    std::string bars;
    for (const ReportRankTime& rank : ranks) bars += rank_bar(rank);
    return fmt::format(
        "<section class=\"card\"><div class=\"head\"><h2>Where the time went: {}</h2><span class=\"unit\">{}</span>"
        "<div class=\"keys\">{}</div></div>\n<div class=\"ranks\">{}</div></section>\n",
        escape_html(run.name), left_out, keys, bars);
}

std::string details_of(const ReportRun& run, const CurveStory& story, bool open) {
    std::string out;
    if (!run.facts.empty()) out += section(run.name, "facts", facts_list(run.facts), open);
    if (!run.cost.empty()) out += section(run.name, "cost", facts_list(run.cost), open);
    if (!run.sources.empty()) out += section(run.name, "data", sources_table(run), open);
    if (!run.saves.empty())
        out += section(run.name, fmt::format("{} checkpoints", thousands(run.saves.size())), saves_table(run));
    if (story.phases.size() > 1)
        out += section(run.name, fmt::format("{} phases of the curve", story.phases.size()), phases_list(story));
    std::vector<std::string> events;
    for (const detect::Event& event : story.events) events.push_back(describe(event));
    if (!events.empty())
        out += section(run.name, fmt::format("{} events on the curve", events.size()), list_of(events));
    if (!run.events.empty()) out += section(run.name, fmt::format("{} events", run.events.size()), list_of(run.events));
    return out;
}

}  // namespace kiban::monitoring
