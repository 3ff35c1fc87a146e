// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/history.h"

#include <algorithm>
#include <limits>

#include "coordinator/config/changes.h"
#include "monitoring/error.h"
#include "monitoring/exit_codes.h"

namespace kiban::coordinator {
namespace {

std::string event_of(const nlohmann::json& entry) {
    const auto event = entry.find("event");
    return event != entry.end() && event->is_string() ? event->get<std::string>() : "";
}

std::uint64_t number(const nlohmann::json& entry, const char* key) {
    const auto value = entry.find(key);
    return value != entry.end() && value->is_number_integer() && *value >= 0 ? value->get<std::uint64_t>() : 0;
}

std::string text(const nlohmann::json& entry, const char* key) {
    const auto value = entry.find(key);
    return value != entry.end() && value->is_string() ? value->get<std::string>() : "";
}

}  // namespace

std::uint64_t extended_steps(const std::vector<nlohmann::json>& journal, std::uint64_t steps) {
    std::uint64_t now = steps;
    for (const nlohmann::json& entry : journal) {
        const std::string event = event_of(entry);
        if (event == "started_over") now = steps;
        if (event == "extended" && number(entry, "from") == now) now = number(entry, "to");
    }
    return now;
}

RunFile with_live_settings(const std::vector<nlohmann::json>& journal, const RunFile& run_file) {
    RunFile now = run_file;
    for (const nlohmann::json& entry : journal) {
        const std::string event = event_of(entry);
        if (event == "started_over") now = run_file;
        const std::string key = text(entry, "key");
        if (event != "set" || key.empty() || text_of_key(now, key) != text(entry, "from")) continue;
        try {
            change_live(now, {fmt::format("{}={}", key, text(entry, "to"))});
        } catch (const Error&) {
            continue;
        }
    }
    return now;
}

double seconds_of_last_save(const std::vector<nlohmann::json>& journal) {
    for (auto entry = journal.rbegin(); entry != journal.rend(); ++entry) {
        if (event_of(*entry) != "checkpoint") continue;
        const auto seconds = entry->find("seconds");
        return seconds != entry->end() && seconds->is_number() ? seconds->get<double>() : 0;
    }
    return 0;
}

std::uint32_t starts_without_progress(const std::vector<nlohmann::json>& journal) {
    std::uint32_t starts = 0;
    bool progress = false;  // since the start
    bool is_open = false;   // a start whose end is not in the journal
    const auto end = [&](bool in_time) {
        starts = progress || !in_time ? 0 : starts + 1;
        progress = is_open = false;
    };
    for (const nlohmann::json& entry : journal) {
        const std::string event = event_of(entry);
        if (event == "checkpoint" || event == "preparation") progress = true;
        if (event == "coordinator_started") {
            if (is_open) end(true);  // killed, or held up until its last moment
            is_open = true;
        }
        if (event == "coordinator_ended") end(number(entry, "exit_code") == kExitRequeue);
    }
    return starts;
}

std::vector<data::RowRange> left_out_rows(const std::vector<nlohmann::json>& journal) {
    std::vector<data::RowRange> rows;
    for (const nlohmann::json& entry : journal) {
        const std::string event = event_of(entry);
        if (event == "started_over") rows.clear();
        if (event == "rows_left_out")
            rows.push_back({.first = number(entry, "first"), .count = number(entry, "count")});
    }
    return rows;
}

std::vector<nlohmann::json> left_out_entries(const std::vector<nlohmann::json>& journal) {
    std::vector<nlohmann::json> entries;
    for (const nlohmann::json& entry : journal) {
        const std::string event = event_of(entry);
        if (event == "started_over") entries.clear();
        if (event != "rows_left_out") continue;
        entries.push_back({{"first", number(entry, "first")},
                           {"count", number(entry, "count")},
                           {"step", number(entry, "step")},
                           {"why", text(entry, "why")}});
    }
    return entries;
}

std::uint64_t rows_in_order(const std::vector<nlohmann::json>& journal) {
    constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t rows = kAll;
    for (const nlohmann::json& entry : journal) {
        const std::string event = event_of(entry);
        if (event == "started_over") rows = kAll;
        if (event == "step_refused") rows = std::min(rows, number(entry, "position"));
        if (event == "rows_left_out") rows = std::min(rows, number(entry, "first"));
    }
    return rows;
}

std::vector<RefusedBatch> refused_batches(const std::vector<nlohmann::json>& journal) {
    std::vector<RefusedBatch> batches;
    for (const nlohmann::json& entry : journal) {
        const std::string event = event_of(entry);
        if (event == "started_over") batches.clear();
        if (event == "step_refused")
            batches.push_back({number(entry, "step"), {number(entry, "position"), number(entry, "rows")}});
        if (event == "training") {  // from there on they are judged again
            const std::uint64_t step = number(entry, "from_step");
            const bool told = entry.contains("position");  // a stop is saved behind batches that were refused since
            const std::uint64_t position = told ? number(entry, "position") : 0;
            std::erase_if(batches, [&](const RefusedBatch& batch) {
                return told ? batch.rows.first >= position : batch.step > step;
            });
        }
    }
    return batches;
}

nlohmann::json entry_of(const RefusedBatch& batch) {
    return {{"step", batch.step},
            {"position", batch.rows.first},
            {"rows", batch.rows.count},
            {"reason", "refused by the run it was forked from"}};
}

std::vector<std::uint64_t> refused_steps(const std::vector<nlohmann::json>& journal) {
    std::vector<std::uint64_t> steps;
    for (const RefusedBatch& batch : refused_batches(journal)) steps.push_back(batch.step);
    return steps;
}

std::set<std::string> left_out_hosts(const std::vector<nlohmann::json>& journal, double wall_now) {
    std::set<std::string> hosts;
    for (const nlohmann::json& entry : journal) {
        const auto until = entry.find("until");
        if (event_of(entry) != "host_left_out" || until == entry.end() || !until->is_number()) continue;
        if (until->get<double>() > wall_now) hosts.insert(text(entry, "host"));
    }
    return hosts;
}

std::uint64_t first_step_of_rows(const std::vector<nlohmann::json>& journal) {
    std::uint64_t step = 0;
    for (const nlohmann::json& entry : journal) {
        const std::string event = event_of(entry);
        if (event == "started_over") step = 0;
        if (event == "forked" && entry.contains("rows_from")) step = number(entry, "rows_from");
    }
    return step;
}

bool other_targets(const std::vector<nlohmann::json>& journal) {
    bool others = false;
    for (const nlohmann::json& entry : journal) {
        const std::string event = event_of(entry);
        if (event == "started_over") others = false;
        if (event == "forked") others = entry.value("other_targets", false);
        if (event != "run_file_changed" || !entry.contains("changes")) continue;
        for (const nlohmann::json& change : entry.at("changes"))
            others = others || (change.is_string() && change.get<std::string>().starts_with("data.forget:"));
    }
    return others;
}

std::vector<data::MixtureSegment> recorded_mixture(const std::vector<nlohmann::json>& journal) {
    std::vector<data::MixtureSegment> mixture;
    for (const nlohmann::json& entry : journal) {
        const std::string event = event_of(entry);
        if (event == "started_over") mixture.clear();
        if (event == "mixture_changed" && entry.contains("mixture"))
            mixture = data::mixture_from_json(entry.at("mixture"));
    }
    return mixture;
}

PolicyState policy_state(const std::vector<nlohmann::json>& journal) {
    PolicyState state;
    for (const nlohmann::json& entry : journal) {
        const std::string event = event_of(entry);
        if (event == "started_over") state = {};
        if (event == "rolled_back") state.rollbacks.push_back(number(entry, "step"));
        if (event == "rows_left_out" && entry.value("why", "") == "quarantine")
            state.quarantined[number(entry, "first")] = number(entry, "step");
    }
    return state;
}

}  // namespace kiban::coordinator
