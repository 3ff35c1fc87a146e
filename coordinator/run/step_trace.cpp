// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/step_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
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
    if (span.name == "forward") return "forward and backward";
    if (span.name == "reduce") return "communication";
    return span.name == "evaluate" ? "evaluation" : span.name;
}

std::size_t thread_of(const Span& span) {
    return static_cast<std::size_t>(std::find(kTracks.begin(), kTracks.end(), span.track) - kTracks.begin()) + 1;
}

void name_tracks(json& events, int rank) {
    const auto named = [&](const char* what, std::size_t thread, const std::string& name) {
        events.push_back({{"ph", "M"}, {"name", what}, {"pid", rank}, {"tid", thread}, {"args", {{"name", name}}}});
    };
    named("process_name", 0, fmt::format("rank {}", rank));
    for (std::size_t i = 0; i < kTracks.size(); ++i) named("thread_name", i + 1, std::string(kTracks[i]));
}

}  // namespace

json chrome_trace(const std::map<int, json>& spans) {
    std::uint64_t first = std::numeric_limits<std::uint64_t>::max();
    std::map<int, std::vector<Span>> all;
    for (const auto& [rank, rows] : spans) {
        for (const json& row : rows) {
            all[rank].push_back(span_of(row));
            first = std::min(first, all[rank].back().begin_ns);
        }
    }
    json events = json::array();
    for (const auto& [rank, of_rank] : all) {
        name_tracks(events, rank);
        for (const Span& span : of_rank) {
            json event = {{"ph", "X"},
                          {"name", shown_name(span)},
                          {"cat", span.track},
                          {"pid", rank},
                          {"tid", thread_of(span)},
                          {"ts", static_cast<double>(span.begin_ns - first) / 1000},
                          {"dur", static_cast<double>(span.duration_ns) / 1000}};
            if (span.step > 0) event["args"] = {{"step", span.step}};
            events.push_back(std::move(event));
        }
    }
    return {{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}};
}

void StepTrace::begin(const Request& request) {
    if (!request_.empty()) throw ConfigError("a trace is being recorded already; ask again when it is done");
    if (request.steps < 1 || request.steps > kMostTracedSteps)
        throw ConfigError("--steps: expected 1 to {}, found {}", kMostTracedSteps, request.steps);
    request_ = request.id;
    spans_.clear();
}

void StepTrace::add(int rank, const json& spans) {
    if (request_.empty()) return;  // of one that was given up
    spans_[rank] = spans;
    if (spans_.size() == static_cast<std::size_t>(workers_)) write();
}

void StepTrace::write() {
    const std::string request = std::exchange(request_, {});
    try {
        std::uint64_t first = std::numeric_limits<std::uint64_t>::max();
        std::uint64_t last = 0;
        const json trace = chrome_trace(spans_);
        for (const json& event : trace.at("traceEvents")) {
            const std::uint64_t step = event.value("/args/step"_json_pointer, std::uint64_t{0});
            if (step == 0) continue;
            first = std::min(first, step);
            last = std::max(last, step);
        }
        if (last == 0) throw ConfigError("the run ended before a step was recorded");
        monitoring::make_directories(directory_);
        const auto file = directory_ / fmt::format("steps-{}-{}.json", first, last);
        monitoring::publish(file, trace.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
        requests_.answer(request, {.done = true, .text = file.string()});
    } catch (const Error& error) {
        monitoring::log_warning("no trace: {}", error.what());
        requests_.answer(request, {.done = false, .text = error.what()});
    }
    spans_.clear();
}

void StepTrace::end() {
    if (request_.empty()) return;
    requests_.answer(std::exchange(request_, {}),
                     {.done = false, .text = "the workers ended before all had sent what they recorded; ask again"});
    spans_.clear();
}

}  // namespace kiban::coordinator
