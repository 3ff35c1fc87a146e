// SPDX-License-Identifier: Apache-2.0
#include "monitoring/report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <functional>
#include <limits>
#include <optional>

#include "monitoring/detect/curve_watch.h"
#include "monitoring/file.h"
#include "monitoring/plot.h"
#include "monitoring/report_style.h"

namespace kiban::monitoring {
namespace {

using Rows = std::vector<CurveRow>;
using Events = std::vector<std::vector<detect::Event>>;  // of each run

// Tokens of a row are a running sum, so a rate needs the row of the step before.
std::optional<double> tokens_per_second(const Rows& rows, std::size_t index) {
    const CurveRow& row = rows[index];
    const bool first = index == 0;
    if (row.step != (first ? 1 : rows[index - 1].step + 1) || !(row.step_seconds > 0)) return std::nullopt;
    return static_cast<double>(row.tokens - (first ? 0 : rows[index - 1].tokens)) / row.step_seconds;
}

std::vector<PlotPoint> points_of(const Rows& rows, const std::function<std::optional<double>(std::size_t)>& value) {
    std::vector<PlotPoint> points;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (const auto y = value(i)) points.push_back({static_cast<double>(rows[i].step), *y});
    }
    return points;
}

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

std::string or_dash(const std::optional<double>& value, const char* suffix = "") {
    return value ? fmt::format("{:.5g}{}", *value, suffix) : "–";
}

std::size_t color_of(std::size_t run) { return run % kReportColors; }

struct Summary {
    std::optional<double> loss;
    std::optional<double> best_eval;
    std::uint64_t best_eval_step = 0;
    std::optional<double> rate;
    double hours = 0;
};

Summary summarize(const Rows& rows) {
    Summary summary;
    std::vector<double> rates;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        summary.hours += rows[i].step_seconds / 3600;
        if (const auto rate = tokens_per_second(rows, i)) rates.push_back(*rate);
        if (std::isfinite(rows[i].eval_loss) && rows[i].eval_loss < summary.best_eval.value_or(HUGE_VAL)) {
            summary.best_eval = rows[i].eval_loss;
            summary.best_eval_step = rows[i].step;
        }
    }
    if (!rows.empty()) summary.loss = rows.back().loss;
    summary.rate = median(std::move(rates));
    return summary;
}

std::string duration_text(double hours) {
    if (hours >= 1) return fmt::format("{:.1f} h", hours);
    return hours * 60 >= 1 ? fmt::format("{:.1f} min", hours * 60) : fmt::format("{:.1f} s", hours * 3600);
}

std::string summary_table(const std::vector<ReportRun>& runs) {
    std::string out =
        "<section class=\"card scroll\"><table><tr><th>Run</th><th>Steps</th><th>Tokens</th><th>Training loss</th>"
        "<th>Best holdout loss</th><th>Tokens/s</th><th>Time in steps</th><th>Repeated steps</th></tr>\n";
    for (std::size_t i = 0; i < runs.size(); ++i) {
        const Rows& rows = runs[i].curve.rows;
        const Summary summary = summarize(rows);
        const std::string best =
            summary.best_eval ? fmt::format("{:.4f} at {}", *summary.best_eval, thousands(summary.best_eval_step))
                              : "–";
        out += fmt::format("<tr class=\"run-{}\"><td class=\"value\">{}</td>", color_of(i), escape_html(runs[i].name));
        for (const std::string& cell :
             {rows.empty() ? std::string("0") : thousands(rows.back().step),
              rows.empty() ? std::string("0") : short_number(static_cast<double>(rows.back().tokens)),
              or_dash(summary.loss), best, summary.rate ? short_number(std::round(*summary.rate)) : std::string("–"),
              duration_text(summary.hours), thousands(runs[i].curve.superseded_rows)}) {
            out += fmt::format("<td class=\"value\">{}</td>", cell);
        }
        out += "</tr>\n";
    }
    return out + "</table></section>\n";
}

// Steps at which another attempt took over, of one run: with several, the lines would belong to nobody.
std::vector<double> restarts_of(const std::vector<ReportRun>& runs) {
    std::vector<double> steps;
    if (runs.size() != 1) return steps;
    const Rows& rows = runs[0].curve.rows;
    for (std::size_t i = 1; i < rows.size(); ++i) {
        if (rows[i].attempt != rows[i - 1].attempt) steps.push_back(static_cast<double>(rows[i - 1].step));
    }
    return steps;
}

// Events of one run that concern, or do not concern, the gradient norm; of several runs they would belong to nobody.
std::vector<PlotMark> marks_of(const Events& events, bool of_norm) {
    std::vector<PlotMark> marks;
    if (events.size() != 1) return marks;
    for (const detect::Event& event : events[0]) {
        if ((event.series == detect::Series::grad_norm) != of_norm) continue;
        const bool alarm = event.kind == detect::EventKind::spike || event.kind == detect::EventKind::divergence ||
                           event.kind == detect::EventKind::spike_lingering;
        marks.push_back({static_cast<double>(event.step), alarm, describe(event)});
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

std::string card(Plot plot, bool wide) {
    std::string keys;
    bool beside = false;  // strong lines among the thin ones: the thin ones step back
    for (const PlotSeries& series : plot.series) {
        const bool marked = series.style == PlotSeries::Style::kMarked;
        beside = beside || marked;
        if (plot.series.size() == 1) continue;  // the page's title names it
        keys += fmt::format("<span class=\"key run-{}\"><i class=\"{}\"></i>{}</span>", series.color,
                            marked ? "marked" : "curve", escape_html(series.name));
    }
    const char* const restarts = plot.rules.empty() ? "" : "<span class=\"key\">┊ restart</span>";
    const char* const events = plot.marks.empty() ? "" : "<span class=\"key\">▴ event</span>";
    std::string out = fmt::format(
        "<section class=\"card{}\"><div class=\"head\"><h2>{}</h2><span class=\"unit\">{}</span><div "
        "class=\"keys\">{}{}{}</div></div>\n",
        wide ? " wide" : "", escape_html(plot.title), escape_html(plot.unit), keys, restarts, events);
    for (const bool log_x : {false, true}) {
        plot.log_x = log_x;
        out += fmt::format("<div class=\"plot {}{}\">{}</div>\n", log_x ? "log-steps" : "linear-steps",
                           beside ? " beside" : "", plot_svg(plot));
    }
    return out + "</section>\n";
}

std::string loss_card(const std::vector<ReportRun>& runs, const Events& events) {
    Plot plot;
    plot.title = "Loss";
    plot.unit = "nats per token";
    plot.width = 1060;
    plot.height = 380;
    plot.rules = restarts_of(runs);
    plot.marks = marks_of(events, /*of_norm=*/false);
    for (std::size_t i = 0; i < runs.size(); ++i) {
        const Rows& rows = runs[i].curve.rows;
        const std::string prefix = runs.size() == 1 ? "" : runs[i].name + ", ";
        plot.series.push_back({prefix + "training", color_of(i), PlotSeries::Style::kCurve,
                               points_of(rows, [&](std::size_t row) { return std::optional(rows[row].loss); })});
        auto holdout = points_of(rows, [&](std::size_t row) {
            return std::isnan(rows[row].eval_loss) ? std::nullopt : std::optional(rows[row].eval_loss);
        });
        if (holdout.empty()) continue;
        const std::size_t color = runs.size() == 1 ? 1 : color_of(i);
        plot.series.push_back({prefix + "holdout", color, PlotSeries::Style::kMarked, std::move(holdout)});
    }
    return card(std::move(plot), true);
}

template <typename Value>
std::string curve_card(const std::vector<ReportRun>& runs, const char* title, const char* unit, Value value,
                       std::vector<PlotMark> marks = {}) {
    Plot plot;
    plot.title = title;
    plot.unit = unit;
    plot.rules = restarts_of(runs);
    plot.marks = std::move(marks);
    for (std::size_t i = 0; i < runs.size(); ++i) {
        const Rows& rows = runs[i].curve.rows;
        plot.series.push_back({runs[i].name, color_of(i), PlotSeries::Style::kCurve,
                               points_of(rows, [&](std::size_t row) { return value(rows, row); })});
    }
    plot.log_y = covers_decades(plot) && std::string_view(title) == "Gradient norm";
    return card(std::move(plot), false);
}

std::string plots(const std::vector<ReportRun>& runs, const Events& events) {
    using Value = std::optional<double>;
    return "<div class=\"plots\">" + loss_card(runs, events) +
           curve_card(runs, "Learning rate", "",
                      [](const Rows& rows, std::size_t row) { return Value(rows[row].learning_rate); }) +
           curve_card(
               runs, "Gradient norm", "before clipping",
               [](const Rows& rows, std::size_t row) { return Value(rows[row].grad_norm); },
               marks_of(events, /*of_norm=*/true)) +
           curve_card(runs, "Throughput", "tokens per second", tokens_per_second) +
           curve_card(runs, "Tokens", "target tokens trained",
                      [](const Rows& rows, std::size_t row) { return Value(static_cast<double>(rows[row].tokens)); }) +
           "</div>\n";
}

std::string list_of(const std::string& run, std::size_t count, const char* what, const std::string& items) {
    if (count == 0) return {};
    return fmt::format("<details class=\"card\"><summary>{}: {} {}</summary><ol>\n{}</ol></details>\n",
                       escape_html(run), count, what, items);
}

std::string details(const ReportRun& run, const std::vector<detect::Event>& curve_events, bool open) {
    std::string out;
    if (!run.facts.empty()) {
        out += fmt::format("<details class=\"card\"{}><summary>{}: facts</summary><dl>\n", open ? " open" : "",
                           escape_html(run.name));
        for (const auto& [key, value] : run.facts) {
            out += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape_html(key), escape_html(value));
        }
        out += "</dl></details>\n";
    }
    std::string found;
    for (const detect::Event& event : curve_events) found += fmt::format("<li>{}</li>\n", escape_html(describe(event)));
    out += list_of(run.name, curve_events.size(), "events on the curve", found);
    std::string events;
    for (const std::string& event : run.events) events += fmt::format("<li>{}</li>\n", escape_html(event));
    out += list_of(run.name, run.events.size(), "events", events);
    return out;
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
    std::string page = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
    page += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    page += fmt::format("<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<div class=\"sheet\">\n", title,
                        kReportStyle);
    page +=
        "<input class=\"switch\" type=\"checkbox\" id=\"log-steps\"><label class=\"switch-label\" "
        "for=\"log-steps\">log steps</label>\n";
    page += fmt::format("<header><h1>{}</h1><p class=\"under\">{}</p></header>\n<main>\n", title, as_of(runs));
    Events events;
    for (const ReportRun& run : runs) events.push_back(detect::events_of(run.curve.rows));
    page += summary_table(runs) + plots(runs, events);
    for (std::size_t i = 0; i < runs.size(); ++i) page += details(runs[i], events[i], runs.size() == 1);
    page += fmt::format("</main>\n</div>\n<script>{}</script>\n</body>\n</html>\n", kReportScript);
    publish(file, page);
}

}  // namespace kiban::monitoring
