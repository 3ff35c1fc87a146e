// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/journal.h"

#include <fmt/chrono.h>

#include <chrono>
#include <sstream>

#include "monitoring/log.h"

namespace kiban::coordinator {

using nlohmann::json;

namespace {

std::string utc_now() {
    const auto now = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
    return fmt::format("{:%Y-%m-%dT%H:%M}:{:%S}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(now)),
                       now.time_since_epoch());
}

}  // namespace

Journal::Journal(const std::filesystem::path& file) : file_(monitoring::File::open_append(file)) {
    if (file_.size() == 0) return;
    std::byte last{};
    file_.read_at(file_.size() - 1, std::span(&last, 1));
    torn_ = last != std::byte{'\n'};
}

void Journal::add(const std::string& event, const json& fields) {
    json entry = {{"time", utc_now()}, {"attempt", attempt_}, {"event", event}};
    entry.update(fields);
    const std::string line =
        fmt::format("{}{}\n", torn_ ? "\n" : "", entry.dump(-1, ' ', false, json::error_handler_t::replace));
    torn_ = true;
    file_.append(std::as_bytes(std::span(line)));
    torn_ = false;
    file_.sync("journal.sync");
}

void Journal::try_add(const std::string& event, const json& fields) noexcept {
    try {
        add(event, fields);
    } catch (const std::exception& error) {
        monitoring::log_warning("'{}' is not in the journal: {}", event, error.what());
    }
}

std::vector<json> read_journal(const std::filesystem::path& file) {
    std::istringstream text(monitoring::read_text_if_exists(file).value_or(""));
    std::vector<json> entries;
    for (std::string line; std::getline(text, line);) {
        json entry = json::parse(line, nullptr, /*allow_exceptions=*/false);
        if (entry.is_object()) entries.push_back(std::move(entry));
    }
    return entries;
}

std::string describe(const json& entry) {
    std::string text = entry.value("time", "?") + " " + entry.value("event", "?");
    for (const auto& [key, value] : entry.items()) {
        if (key == "time" || key == "event") continue;
        text += fmt::format(" {}={}", key, value.is_string() ? value.get<std::string>() : value.dump());
    }
    return text;
}

}  // namespace kiban::coordinator
