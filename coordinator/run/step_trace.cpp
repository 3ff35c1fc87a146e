// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/step_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <set>
#include <string_view>
#include <utility>

#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 3> kTracks = {"phases", "passes", "exchanges"};

struct Span {
    std::string track;
    std::string name;
    std::uint64_t step = 0;
    std::uint64_t begin_ns = 0;
    std::uint64_t duration_ns = 0;
};

std::uint64_t count_of(const json& value) {  // get() would wrap what is negative
    if (!value.is_number_integer() || (!value.is_number_unsigned() && value.get<std::int64_t>() < 0))
        throw ConfigError("a span of a trace: expected an integer of at least 0, found {}", value.dump());
    return value.get<std::uint64_t>();
}

Span span_of(const json& row) {
    try {
        return {.track = row.at(0).get<std::string>(),
                .name = row.at(1).get<std::string>(),
                .step = count_of(row.at(2)),
                .begin_ns = count_of(row.at(3)),
                .duration_ns = count_of(row.at(4))};
    } catch (const json::exception& error) {
        throw ConfigError("a span of a trace: expected [track, name, step, begin, duration], found {} ({})",
                          row.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 80), error.what());
    }
}

// In words of the report; of the passes the track below says which is which.
std::string shown_name(const Span& span) {
    if (span.track != "phases") return span.name;
    if (span.name == "forward" || span.name == "backward") return "forward and backward";
    if (span.name == "reduce") return "communication";
    return span.name == "evaluate" ? "evaluation" : span.name;
}

std::size_t thread_of(const Span& span) {
    return static_cast<std::size_t>(std::find(kTracks.begin(), kTracks.end(), span.track) - kTracks.begin()) + 1;
}

using Text = fmt::memory_buffer;

template <typename... Args>
void emit(Text& out, fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

std::string quoted(const std::string& text) { return json(text).dump(-1, ' ', true, json::error_handler_t::replace); }

void emit_names(Text& out, int rank) {
    emit(out, R"({{"ph":"M","name":"process_name","pid":{},"tid":0,"args":{{"name":"rank {}"}}}})", rank, rank);
    for (std::size_t i = 0; i < kTracks.size(); ++i)
        emit(out,
             ",\n"
             R"({{"ph":"M","name":"thread_name","pid":{},"tid":{},"args":{{"name":"{}"}}}})",
             rank, i + 1, kTracks[i]);
}

void emit_span(Text& out, int rank, const Span& span, std::uint64_t first_ns) {
    emit(out,
         ",\n"
         R"({{"ph":"X","name":{},"cat":{},"pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f})",
         quoted(shown_name(span)), quoted(span.track), rank, thread_of(span),
         static_cast<double>(span.begin_ns - first_ns) / 1000, static_cast<double>(span.duration_ns) / 1000);
    if (span.step > 0) emit(out, R"(,"args":{{"step":{}}})", span.step);
    emit(out, "}}");
}

}  // namespace

// Each row is read twice, so that nothing else of the size of the spans is held besides the text.
std::string chrome_trace(const std::map<int, json>& spans) {
    std::uint64_t first = std::numeric_limits<std::uint64_t>::max();
    for (const auto& [rank, rows] : spans)
        for (const json& row : rows) first = std::min(first, span_of(row).begin_ns);
    Text out;
    emit(out, R"({{"displayTimeUnit":"ms","traceEvents":[)");
    const char* separator = "\n";
    for (const auto& [rank, rows] : spans) {
        emit(out, "{}", std::exchange(separator, ",\n"));
        emit_names(out, rank);
        for (const json& row : rows) emit_span(out, rank, span_of(row), first);
    }
    emit(out, "\n]}}\n");
    return fmt::to_string(out);
}

std::set<std::uint64_t> whole_steps(const json& rows) {
    std::set<std::uint64_t> steps;
    for (const json& row : rows) {
        const Span span = span_of(row);
        if (span.track == "phases" && span.name == "data" && span.step > 0) steps.insert(span.step);
    }
    return steps;
}

void StepTrace::begin(const Request& request) {
    if (!request_.empty()) throw ConfigError("a trace is being recorded already; ask again when it is done");
    if (request.steps < 1 || request.steps > kMostTracedSteps)
        throw ConfigError("--steps: expected 1 to {}, found {}", kMostTracedSteps, request.steps);
    request_ = request.id;
    asked_ = request.steps;
    left_out_ = 0;
    spans_.clear();
}

void StepTrace::add(int rank, TracedSteps&& traced) {
    if (request_.empty()) return;  // of one that was given up
    if (!traced.spans.is_array() || traced.spans.size() > kMostTraceSpans / static_cast<std::size_t>(workers_)) {
        give_up(fmt::format("worker {} sent a trace that is none, or of more than {} spans", rank,
                            kMostTraceSpans / static_cast<std::size_t>(workers_)));
        return;
    }
    left_out_ += traced.left_out;
    spans_[rank] = std::move(traced.spans);
    if (spans_.size() == static_cast<std::size_t>(workers_)) write();
}

void StepTrace::write() {
    try {
        const std::set<std::uint64_t> steps = whole_steps(spans_.begin()->second);
        if (steps.empty()) throw ConfigError("the run ended before a step was recorded");
        monitoring::make_directories(directory_);
        const auto file = directory_ / fmt::format("steps-{}-{}.json", *steps.begin(), *steps.rbegin());
        monitoring::publish(file, chrome_trace(spans_));
        std::string told = file.string();
        if (steps.size() < asked_) told += fmt::format("\n{} of {} steps: the run ended", steps.size(), asked_);
        if (left_out_ > 0) told += fmt::format("\n{} spans at the end are left out: ask for fewer steps", left_out_);
        requests_.answer(std::exchange(request_, {}), {.done = true, .text = told});
        spans_.clear();
    } catch (const Error& error) {
        give_up(error.what());
    }
}

void StepTrace::give_up(const std::string& why) {
    monitoring::log_warning("no trace: {}", why);
    requests_.answer(std::exchange(request_, {}), {.done = false, .text = why});
    spans_.clear();
}

void StepTrace::end() {
    if (request_.empty()) return;
    give_up("the workers ended before all had sent what they recorded; ask again");
}

}  // namespace kiban::coordinator
