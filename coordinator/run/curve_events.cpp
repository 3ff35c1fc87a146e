// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/curve_events.h"

#include <fmt/format.h>

#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

using monitoring::CurveRow;
using monitoring::detect::Event;
using nlohmann::json;

constexpr const char* kJournalEvent = "curve";

std::string key_of(std::string_view kind, std::string_view series, std::uint64_t step) {
    return fmt::format("{}/{}/{}", kind, series, step);
}

std::set<std::string> told_in(const std::vector<json>& journal) {
    std::set<std::string> told;
    for (const json& entry : journal) {
        const std::string event = entry.value("event", "");
        if (event == "started_over") told.clear();  // of another curve
        if (event != kJournalEvent) continue;
        told.insert(key_of(entry.value("kind", ""), entry.value("series", ""), entry.value("step", std::uint64_t{0})));
    }
    return told;
}

void keep_last(std::vector<std::string>& lines, std::string line) {
    lines.push_back(std::move(line));
    if (lines.size() > CurveEvents::kShown) lines.erase(lines.begin());
}

}  // namespace

void CurveEvents::resume(const std::vector<CurveRow>& rows, const std::vector<json>& journal) {
    told_ = told_in(journal);
    state_ = {};
    board_.status.curve_events.clear();
    std::vector<Event> history;
    for (const CurveRow& row : rows) {
        for (Event& event : monitoring::detect::observe(state_, row)) history.push_back(std::move(event));
    }
    board_.metrics().curve_history(history);
    for (const Event& event : history) {
        tell(event);
        show(event);
    }
    if (rows.empty()) return;
    board_.metrics().curve_state(state_);
    board_.status.phase = word_of(phase_of(state_));
}

void CurveEvents::add(const CurveRow& row) {
    for (const Event& event : monitoring::detect::observe(state_, row)) {
        tell(event);
        show(event);
    }
    board_.metrics().curve_state(state_);
    board_.status.phase = word_of(phase_of(state_));
}

void CurveEvents::tell(const Event& event) {
    if (!told_.insert(key_of(word_of(event.kind), word_of(event.series), event.step)).second) {
        board_.metrics().curve_event_again(event);
        return;
    }
    board_.journal.add(kJournalEvent, {{"kind", word_of(event.kind)},
                                       {"series", word_of(event.series)},
                                       {"step", event.step},
                                       {"since_step", event.since_step},
                                       {"tokens", event.tokens},
                                       {"value", event.value},
                                       {"size", event.size},
                                       {"detail", event.detail}});
    board_.metrics().curve_event(event);
    monitoring::log_info("curve: {}", describe(event));
}

void CurveEvents::show(const Event& event) { keep_last(board_.status.curve_events, describe(event)); }

void show_curve(RunStatus& status, const std::vector<CurveRow>& rows) {
    monitoring::detect::CurveState state;
    status.curve_events.clear();
    for (const CurveRow& row : rows) {
        for (const Event& event : monitoring::detect::observe(state, row))
            keep_last(status.curve_events, describe(event));
    }
    status.phase = rows.empty() ? "" : word_of(phase_of(state));
}

}  // namespace kiban::coordinator
