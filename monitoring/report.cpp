// SPDX-License-Identifier: Apache-2.0
#include "monitoring/report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <functional>
#include <limits>

#include "monitoring/file.h"
#include "monitoring/plot.h"
#include "monitoring/report/assets.h"
#include "monitoring/report/data.h"
#include "monitoring/report/tables.h"

namespace kiban::monitoring {
namespace {

using Stories = std::vector<CurveStory>;
using ValueOf = std::function<std::optional<double>(const CurveRows&, std::size_t)>;

std::vector<PlotPoint> points_of(const CurveRows& rows, const ValueOf& value_of) {
    std::vector<PlotPoint> points;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (const auto y = value_of(rows, i)) points.push_back({static_cast<double>(rows[i].step), *y});
    }
    return points;
}

std::size_t color_of(std::size_t run) { return run % kReportColors; }

// Of one run: with several, the still lines would belong to nobody.
std::vector<double> rules_of(const std::vector<ReportRun>& runs) {
    if (runs.size() != 1) return {};
    const auto steps = restarts_of(runs[0].curve.rows);
    return {steps.begin(), steps.end()};
}

std::vector<PlotMark> marks_of(const Stories& stories, bool of_norm) {
    std::vector<PlotMark> marks;
    if (stories.size() != 1) return marks;
    for (const detect::Event& event : stories[0].events) {
        if ((event.series == detect::Series::grad_norm) != of_norm) continue;
        marks.push_back({static_cast<double>(event.step), is_alarm(event), describe(event)});
    }
    return marks;
}

bool covers_decades(const Plot& plot) {
    double low = std::numeric_limits<double>::infinity();
    double high = 0;
    for (const PlotSeries& series : plot.series) {
        for (const PlotPoint& point : series.points) {
            if (!std::isfinite(point.y) || point.y <= 0) continue;
            low = std::min(low, point.y);
            high = std::max(high, point.y);
        }
    }
    return high > 30 * low;
}

struct CardText {
    const char* kind;   // what page.js calls it
    bool wide = false;  // over the whole page
    bool saves = false;
    bool restarts = false;
    bool events = false;
    std::string more_keys = {};
};

std::string keys_of(const Plot& plot, const CardText& text) {
    std::string keys;
    for (const PlotSeries& series : plot.series) {
        if (plot.series.size() == 1) break;  // the page's title names it
        const bool marked = series.style == PlotSeries::Style::kMarked;
        keys += fmt::format("<span class=\"key run-{}\"><i class=\"{}\"></i>{}</span>", series.color,
                            marked ? "marked" : "curve", escape_html(series.name));
    }
    if (text.restarts) keys += "<span class=\"key\">┊ restart</span>";
    if (text.saves) keys += "<span class=\"key\">╷ checkpoint</span>";
    if (text.events) keys += "<span class=\"key\">▴ event</span>";
    return keys + text.more_keys;
}

// The drawing is what a reader without the script sees; the script replaces it.
std::string card(const Plot& plot, const CardText& text) {
    return fmt::format(
        "<section class=\"card{}\" data-kind=\"{}\"><div class=\"head\"><h2>{}</h2><span class=\"unit\">{}{}over "
        "<span class=\"axis-label\">steps</span></span><button type=\"button\" aria-pressed=\"{}\" hidden>log</button>"
        "<div class=\"keys\">{}</div></div>\n<div class=\"plot still\">{}</div>\n</section>\n",
        text.wide ? " wide" : "", text.kind, escape_html(plot.title), escape_html(plot.unit),
        plot.unit.empty() ? "" : ", ", plot.log_y, keys_of(plot, text), plot_svg(plot));
}

bool any(const std::vector<ReportRun>& runs, const std::function<bool(const ReportRun&)>& has) {
    return std::any_of(runs.begin(), runs.end(), has);
}

bool any_restarts(const std::vector<ReportRun>& runs) {
    return any(runs, [](const ReportRun& run) { return !restarts_of(run.curve.rows).empty(); });
}

bool any_saves(const std::vector<ReportRun>& runs) {
    return any(runs, [](const ReportRun& run) { return !run.saves.empty(); });
}

bool any_events(const Stories& stories, bool of_norm) {
    return std::any_of(stories.begin(), stories.end(), [&](const CurveStory& story) {
        return std::any_of(story.events.begin(), story.events.end(), [&](const detect::Event& event) {
            return (event.series == detect::Series::grad_norm) == of_norm;
        });
    });
}

// Of the phases that occur, but for plain learning, which is drawn as next to nothing.
std::string phase_keys(const Stories& stories) {
    std::string keys;
    for (const detect::Phase phase :
         {detect::Phase::plateau, detect::Phase::memorised, detect::Phase::early_sign, detect::Phase::diverging}) {
        const bool there = std::any_of(stories.begin(), stories.end(), [&](const CurveStory& story) {
            return std::any_of(story.phases.begin(), story.phases.end(),
                               [&](const auto& entry) { return entry.second == phase; });
        });
        if (!there) continue;
        std::string word(detect::word_of(phase));
        std::replace(word.begin(), word.end(), '_', ' ');
        keys +=
            fmt::format("<span class=\"key phase-{}\"><i class=\"box\"></i>{}</span>", detect::word_of(phase), word);
    }
    return keys;
}

std::string loss_card(const std::vector<ReportRun>& runs, const Stories& stories) {
    Plot plot;
    plot.title = "Loss";
    plot.unit = "nats per token";
    plot.width = 1060;
    plot.height = 380;
    plot.rules = rules_of(runs);
    plot.marks = marks_of(stories, /*of_norm=*/false);
    for (std::size_t i = 0; i < runs.size(); ++i) {
        const CurveRows& rows = runs[i].curve.rows;
        const std::string prefix = runs.size() == 1 ? "" : runs[i].name + ", ";
        plot.series.push_back({prefix + "training", color_of(i), PlotSeries::Style::kCurve,
                               points_of(rows, [](const CurveRows& all, std::size_t row) {
                                   return without_targets(all[row]) ? std::nullopt : std::optional(all[row].loss);
                               })});
        auto holdout = points_of(rows, [](const CurveRows& all, std::size_t row) {
            return std::isnan(all[row].eval_loss) ? std::nullopt : std::optional(all[row].eval_loss);
        });
        if (holdout.empty()) continue;
        const std::size_t color = runs.size() == 1 ? 1 : color_of(i);
        plot.series.push_back({prefix + "holdout", color, PlotSeries::Style::kMarked, std::move(holdout)});
    }
    return card(plot, {.kind = "loss",
                       .wide = true,
                       .saves = any_saves(runs),
                       .restarts = any_restarts(runs),
                       .events = any_events(stories, false),
                       .more_keys = phase_keys(stories)});
}

struct CurveKind {
    const char* kind;
    const char* title;
    const char* unit;
    ValueOf value_of;
};

std::string curve_card(const std::vector<ReportRun>& runs, const CurveKind& kind, std::vector<PlotMark> marks = {},
                       bool events = false) {
    Plot plot;
    plot.title = kind.title;
    plot.unit = kind.unit;
    plot.rules = rules_of(runs);
    plot.marks = std::move(marks);
    for (std::size_t i = 0; i < runs.size(); ++i) {
        plot.series.push_back(
            {runs[i].name, color_of(i), PlotSeries::Style::kCurve, points_of(runs[i].curve.rows, kind.value_of)});
    }
    plot.log_y = covers_decades(plot) && std::string_view(kind.kind) == "norm";
    return card(plot, {.kind = kind.kind, .events = events});
}

std::string plots(const std::vector<ReportRun>& runs, const Stories& stories) {
    using Value = std::optional<double>;
    return "<div class=\"plots\">" + loss_card(runs, stories) +
           curve_card(runs, {"rate", "Learning rate", "",
                             [](const CurveRows& rows, std::size_t i) { return Value(rows[i].learning_rate); }}) +
           curve_card(runs,
                      {"norm", "Gradient norm", "before clipping",
                       [](const CurveRows& rows, std::size_t i) { return Value(rows[i].grad_norm); }},
                      marks_of(stories, /*of_norm=*/true), any_events(stories, true)) +
           curve_card(runs, {"speed", "Throughput", "tokens per second", tokens_per_second}) +
           curve_card(runs, {"tokens", "Tokens", "target tokens trained",
                             [](const CurveRows& rows, std::size_t i) {
                                 return Value(static_cast<double>(rows[i].tokens));
                             }}) +
           "</div>\n";
}

std::string choice(const char* label, const char* name, const std::vector<std::pair<const char*, const char*>>& values,
                   std::string_view chosen) {
    std::string out = fmt::format("<fieldset class=\"choice\"><span>{}</span>", label);
    for (const auto& [value, text] : values) {
        out += fmt::format("<label><input type=\"radio\" name=\"{}\" value=\"{}\"{}><em>{}</em></label>", name, value,
                           value == chosen ? " checked" : "", text);
    }
    return out + "</fieldset>\n";
}

std::string bar() {
    return "<div class=\"bar\" hidden>" +
           choice("Over", "axis", {{"step", "Steps"}, {"tokens", "Tokens"}, {"time", "Time"}}, "step") +
           choice("Axis", "scale", {{"linear", "Linear"}, {"log", "Log"}}, "linear") +
           choice("Smoothing", "smooth", {{"off", "Off"}, {"light", "Light"}, {"strong", "Strong"}}, "light") +
           choice("Theme", "theme", {{"auto", "Auto"}, {"light", "Light"}, {"dark", "Dark"}}, "auto") +
           "<button type=\"button\" id=\"whole\" hidden>Whole range</button></div>\n";
}

std::string as_of(const std::vector<ReportRun>& runs) {
    double latest = 0;
    for (const ReportRun& run : runs) {
        if (!run.curve.rows.empty()) latest = std::max(latest, run.curve.rows.back().wall_time);
    }
    if (latest <= 0) return "No step is recorded yet.";
    return fmt::format("Pretraining with Kiban. Last step recorded {:%Y-%m-%d %H:%M:%S} UTC.",
                       fmt::gmtime(static_cast<std::time_t>(latest)));
}

}  // namespace

void write_report(const std::filesystem::path& file, const std::vector<ReportRun>& runs) {
    std::string title;
    for (const ReportRun& run : runs) title += (title.empty() ? "" : " · ") + escape_html(run.name);
    std::string page = fmt::format(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<div "
        "class=\"sheet\">\n<header><h1>{}</h1><p class=\"under\">{}</p></header>\n<main>\n",
        title, kReportStyle, title, as_of(runs));
    Stories stories;
    for (const ReportRun& run : runs) stories.push_back(story_of(run.curve.rows));
    page += summary_table(runs) + bar() + plots(runs, stories);
    for (const ReportRun& run : runs) page += time_by_rank(run);
    for (std::size_t i = 0; i < runs.size(); ++i) page += details_of(runs[i], stories[i], runs.size() == 1);
    page += fmt::format("</main>\n</div>\n<script type=\"application/json\" id=\"runs\">{}</script>\n",
                        report_data(runs, stories));
    page += fmt::format("<script>{}</script>\n</body>\n</html>\n", kReportScript);
    publish(file, page);
}

}  // namespace kiban::monitoring
