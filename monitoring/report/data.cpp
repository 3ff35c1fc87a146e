// SPDX-License-Identifier: Apache-2.0
#include "monitoring/report/data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>

#include "monitoring/report/assets.h"

namespace kiban::monitoring {
namespace {

using Buffer = fmt::memory_buffer;
using Buckets = std::vector<std::pair<std::size_t, std::size_t>>;

constexpr std::size_t kExactRows = 3000;
constexpr std::uint64_t kPartsOfAStep = 200;
constexpr std::uint64_t kPartsOfARun = 1300;
constexpr std::size_t kMostNotFinite = 200;

template <typename... Args>
void emit(Buffer& out, fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

// Enough digits for a drawing; JSON has neither NaN nor infinities.
void emit_number(Buffer& out, double value, int digits = 5) {
    if (std::isfinite(value)) {
        emit(out, "{:.{}g}", value, digits);
    } else {
        emit(out, "null");
    }
}

void emit_text(Buffer& out, std::string_view text) {
    emit(out, "\"");
    for (const char character : text) {
        const auto code = static_cast<unsigned char>(character);
        if (character == '"' || character == '\\' || character == '<' || code < 0x20) {
            emit(out, "\\u{:04x}", code);
        } else {
            out.push_back(character);
        }
    }
    emit(out, "\"");
}

template <typename Range, typename Each>
void emit_array(Buffer& out, const Range& range, Each each) {
    const char* separator = "";
    emit(out, "[");
    for (const auto& item : range) {
        emit(out, "{}", separator);
        each(item);
        separator = ",";
    }
    emit(out, "]");
}

struct Spread {
    double low = std::numeric_limits<double>::infinity();
    double high = -std::numeric_limits<double>::infinity();
    double mean = std::numeric_limits<double>::quiet_NaN();
};

using ValueOf = std::function<double(const CurveRows&, std::size_t)>;

Spread spread_of(const CurveRows& rows, std::pair<std::size_t, std::size_t> bucket, const ValueOf& value_of) {
    Spread spread;
    double count = 0;
    for (std::size_t i = bucket.first; i < bucket.second; ++i) {
        const double value = value_of(rows, i);
        if (!std::isfinite(value)) continue;
        spread.low = std::min(spread.low, value);
        spread.high = std::max(spread.high, value);
        if (++count == 1) spread.mean = 0;
        spread.mean += (value - spread.mean) / count;
    }
    return spread;
}

void emit_series(Buffer& out, const char* name, const CurveRows& rows, const Buckets& buckets,
                 const ValueOf& value_of) {
    std::vector<Spread> spreads;
    spreads.reserve(buckets.size());
    for (const auto& bucket : buckets) spreads.push_back(spread_of(rows, bucket, value_of));
    emit(out, "\"{}\":{{\"mean\":", name);
    emit_array(out, spreads, [&](const Spread& spread) { emit_number(out, spread.mean); });
    const bool wide = std::any_of(spreads.begin(), spreads.end(), [](const Spread& s) { return s.low < s.high; });
    if (wide) {
        emit(out, ",\"low\":");
        emit_array(out, spreads, [&](const Spread& spread) { emit_number(out, spread.low); });
        emit(out, ",\"high\":");
        emit_array(out, spreads, [&](const Spread& spread) { emit_number(out, spread.high); });
    }
    emit(out, "}}");
}

double rate_or_nan(const CurveRows& rows, std::size_t index) {
    return tokens_per_second(rows, index).value_or(std::numeric_limits<double>::quiet_NaN());
}

const std::vector<std::pair<const char*, ValueOf>>& kinds() {
    static const std::vector<std::pair<const char*, ValueOf>> all = {
        {"loss", [](const CurveRows& rows, std::size_t i) { return rows[i].loss; }},
        {"rate", [](const CurveRows& rows, std::size_t i) { return rows[i].learning_rate; }},
        {"norm", [](const CurveRows& rows, std::size_t i) { return measured_norm(rows[i]); }},
        {"speed", rate_or_nan},
        {"tokens", [](const CurveRows& rows, std::size_t i) { return static_cast<double>(rows[i].tokens); }}};
    return all;
}

// Hours from the beginning of the first step; a clock that was set back stands still.
std::vector<double> hours_of(const CurveRows& rows) {
    std::vector<double> hours;
    hours.reserve(rows.size());
    for (const CurveRow& row : rows) {
        const double since = (row.wall_time - rows.front().wall_time + rows.front().step_seconds) / 3600;
        hours.push_back(hours.empty() ? since : std::max(since, hours.back()));
    }
    return hours;
}

void emit_holdout(Buffer& out, const CurveRows& rows, const std::vector<double>& hours) {
    std::vector<std::size_t> evaluated;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (!std::isnan(rows[i].eval_loss)) evaluated.push_back(i);
    }
    emit(out, ",\"holdout\":{{\"step\":");
    emit_array(out, evaluated, [&](std::size_t i) { emit(out, "{}", rows[i].step); });
    emit(out, ",\"tokens\":");
    emit_array(out, evaluated, [&](std::size_t i) { emit(out, "{}", rows[i].tokens); });
    emit(out, ",\"hours\":");
    emit_array(out, evaluated, [&](std::size_t i) { emit_number(out, hours[i], 7); });
    emit(out, ",\"value\":");
    emit_array(out, evaluated, [&](std::size_t i) { emit_number(out, rows[i].eval_loss); });
    emit(out, "}}");
}

void emit_not_finite(Buffer& out, const CurveRows& rows) {
    const auto steps = [&](double CurveRow::*member) {
        std::vector<std::uint64_t> found;
        for (const CurveRow& row : rows) {
            const bool bad = !std::isfinite(row.*member) && !without_targets(row);
            if (bad && found.size() < kMostNotFinite) found.push_back(row.step);
        }
        emit_array(out, found, [&](std::uint64_t step) { emit(out, "{}", step); });
    };
    emit(out, ",\"bad\":{{\"loss\":");
    steps(&CurveRow::loss);
    emit(out, ",\"norm\":");
    steps(&CurveRow::grad_norm);
    emit(out, "}}");
}

void emit_happenings(Buffer& out, const ReportRun& run, const CurveStory& story) {
    emit(out, ",\"restarts\":");
    emit_array(out, restarts_of(run.curve.rows), [&](std::uint64_t step) { emit(out, "{}", step); });
    emit(out, ",\"checkpoints\":");
    emit_array(out, run.saves, [&](const ReportCheckpoint& save) { emit(out, "{}", save.step); });
    emit(out, ",\"phases\":");
    emit_array(out, story.phases,
               [&](const auto& phase) { emit(out, "[{},\"{}\"]", phase.first, detect::word_of(phase.second)); });
    emit(out, ",\"events\":");
    emit_array(out, story.events, [&](const detect::Event& event) {
        emit(out, "{{\"step\":{},\"plot\":\"{}\",\"alarm\":{},\"text\":", event.step,
             event.series == detect::Series::grad_norm ? "norm" : "loss", is_alarm(event));
        emit_text(out, detect::describe(event));
        emit(out, "}}");
    });
}

void emit_run(Buffer& out, const ReportRun& run, const CurveStory& story, std::size_t color) {
    const CurveRows& rows = run.curve.rows;
    const Buckets buckets = buckets_of(rows);
    const std::vector<double> hours = hours_of(rows);
    emit(out, "{{\"name\":");
    emit_text(out, run.name);
    emit(out, ",\"color\":{},\"step\":", color);
    emit_array(out, buckets, [&](const auto& bucket) { emit(out, "{}", rows[bucket.second - 1].step); });
    emit(out, ",\"tokens\":");
    emit_array(out, buckets, [&](const auto& bucket) { emit(out, "{}", rows[bucket.second - 1].tokens); });
    emit(out, ",\"hours\":");
    emit_array(out, buckets, [&](const auto& bucket) { emit_number(out, hours[bucket.second - 1], 7); });
    if (buckets.size() < rows.size()) {
        emit(out, ",\"count\":");
        emit_array(out, buckets, [&](const auto& bucket) { emit(out, "{}", bucket.second - bucket.first); });
    }
    emit(out, ",\"series\":{{");
    const char* separator = "";
    for (const auto& [name, value_of] : kinds()) {
        emit(out, "{}", separator);
        emit_series(out, name, rows, buckets, value_of);
        separator = ",";
    }
    emit(out, "}}");
    emit_holdout(out, rows, hours);
    emit_not_finite(out, rows);
    emit_happenings(out, run, story);
    emit(out, "}}");
}

}  // namespace

CurveStory story_of(const CurveRows& rows) {
    CurveStory story;
    detect::CurveState state;
    for (const CurveRow& row : rows) {
        for (detect::Event& event : detect::observe(state, row)) story.events.push_back(std::move(event));
        const detect::Phase phase = detect::phase_of(state);
        if (story.phases.empty() || story.phases.back().second != phase) story.phases.emplace_back(row.step, phase);
    }
    return story;
}

std::optional<double> tokens_per_second(const CurveRows& rows, std::size_t index) {
    const CurveRow& row = rows[index];
    const bool first = index == 0;
    if (row.step != (first ? 1 : rows[index - 1].step + 1) || !(row.step_seconds > 0)) return std::nullopt;
    return static_cast<double>(row.tokens - (first ? 0 : rows[index - 1].tokens)) / row.step_seconds;
}

std::vector<std::uint64_t> restarts_of(const CurveRows& rows) {
    std::vector<std::uint64_t> steps;
    for (std::size_t i = 1; i < rows.size(); ++i) {
        if (rows[i].attempt != rows[i - 1].attempt) steps.push_back(rows[i - 1].step);
    }
    return steps;
}

bool is_alarm(const detect::Event& event) {
    return event.kind == detect::EventKind::spike || event.kind == detect::EventKind::divergence ||
           event.kind == detect::EventKind::spike_lingering;
}

std::vector<std::pair<std::size_t, std::size_t>> buckets_of(const CurveRows& rows) {
    Buckets buckets;
    const bool exact = rows.size() <= kExactRows;
    const std::uint64_t widest = exact ? 1 : std::max<std::uint64_t>(1, rows.back().step / kPartsOfARun);
    for (std::size_t begin = 0; begin < rows.size();) {
        const std::uint64_t width = std::clamp<std::uint64_t>(rows[begin].step / kPartsOfAStep, 1, widest);
        std::size_t end = begin + 1;
        while (end < rows.size() && rows[end].step < rows[begin].step + width) ++end;
        buckets.emplace_back(begin, end);
        begin = end;
    }
    return buckets;
}

std::string report_data(const std::vector<ReportRun>& runs, const std::vector<CurveStory>& stories) {
    Buffer out;
    emit(out, "[");
    for (std::size_t i = 0; i < runs.size(); ++i) {
        if (i > 0) emit(out, ",\n");
        emit_run(out, runs[i], stories[i], i % kReportColors);
    }
    emit(out, "]");
    return fmt::to_string(out);
}

}  // namespace kiban::monitoring
