// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/requests.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <random>
#include <utility>

#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kEnding = ".json";
constexpr std::string_view kTakenEnding = ".taken";
constexpr std::string_view kAnswerEnding = ".answer.json";
constexpr std::uintmax_t kMaxBytes = 4096;
constexpr std::size_t kMaxOpen = 64;

fs::path directory_of(const fs::path& run_dir) { return run_dir / "requests"; }
fs::path request_file(const fs::path& directory, const std::string& id) {
    return directory / fmt::format("{}.json", id);
}
fs::path taken_file(const fs::path& directory, const std::string& id) {
    return directory / fmt::format("{}.taken", id);
}
fs::path answer_file(const fs::path& directory, const std::string& id) {
    return directory / fmt::format("{}.answer.json", id);
}

// Names sort by time of making.
std::string new_id() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return fmt::format("{:016}-{:08x}", std::chrono::duration_cast<std::chrono::microseconds>(now).count(),
                       std::random_device{}());
}

std::string who_am_i() {
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    const passwd* user = ::getpwuid(::geteuid());
    return fmt::format("{}@{}", user != nullptr ? user->pw_name : fmt::format("{}", ::geteuid()), host.data());
}

bool has_steps(const std::string& verb) { return verb == "extend" || verb == "trace-steps"; }

bool is_verb(const std::string& verb) { return verb == "save" || verb == "stop" || verb == "set" || has_steps(verb); }

// Text that goes into logs and the journal.
std::string printable(std::string text) {
    if (text.size() > 128) text.resize(128);
    for (char& c : text) {
        if (c < ' ' || c > '~') c = '?';
    }
    return text;
}

std::string shown(const json& value) { return printable(value.dump(-1, ' ', true, json::error_handler_t::replace)); }

std::vector<std::string> settings_of(const json& content, const std::string& id) {
    const auto settings = content.find("settings");
    const auto is_text = [](const json& setting) {
        if (!setting.is_string()) return false;
        const auto text = setting.get<std::string>();
        return printable(text) == text;
    };
    const bool texts = settings != content.end() && settings->is_array() && !settings->empty() &&
                       std::all_of(settings->begin(), settings->end(), is_text);
    if (!texts) {
        throw ConfigError("request '{}': expected settings, an array of printable KEY=VALUE, found {}", id,
                          settings == content.end() ? "none" : shown(*settings));
    }
    return settings->get<std::vector<std::string>>();
}

Request request_from(const json& content, const std::string& id) {
    Request request{.id = id, .verb = "", .steps = 0, .by = ""};
    const auto verb = content.find("verb");
    if (verb == content.end() || !verb->is_string() || !is_verb(verb->get<std::string>())) {
        throw ConfigError("request '{}': expected verb save, stop, extend, set or trace-steps, found {}", id,
                          verb == content.end() ? "none" : shown(*verb));
    }
    request.verb = verb->get<std::string>();
    const auto steps = content.find("steps");
    if (has_steps(request.verb) && (steps == content.end() || !steps->is_number_unsigned())) {
        throw ConfigError("request '{}': expected a whole number of steps, found {}", id,
                          steps == content.end() ? "none" : shown(*steps));
    }
    if (has_steps(request.verb)) request.steps = steps->get<std::uint64_t>();
    if (request.verb == "set") request.settings = settings_of(content, id);
    const auto by = content.find("by");
    request.by = by != content.end() && by->is_string() ? printable(by->get<std::string>()) : "?";
    return request;
}

std::vector<std::string> ids_in(const fs::path& directory, std::string_view ending = kEnding) {
    std::vector<std::string> ids;
    std::error_code error;
    for (fs::directory_iterator entry(directory, error); !error && entry != fs::directory_iterator();
         entry.increment(error)) {
        const std::string name = entry->path().filename().string();
        if (name.starts_with('.') || !name.ends_with(ending) || name.ends_with(kAnswerEnding)) continue;
        ids.push_back(name.substr(0, name.size() - ending.size()));
    }
    std::sort(ids.begin(), ids.end());
    return ids;
}

}  // namespace

std::string place_request(const fs::path& run_dir, Request request) {
    const fs::path directory = directory_of(run_dir);
    monitoring::make_directories(directory);
    request.id = new_id();
    json content = {{"verb", request.verb}, {"by", who_am_i()}};
    if (has_steps(request.verb)) content["steps"] = request.steps;
    if (request.verb == "set") content["settings"] = request.settings;
    monitoring::publish(request_file(directory, request.id), content.dump() + "\n");
    return request.id;
}

std::optional<Answer> take_answer(const fs::path& run_dir, const std::string& id) {
    const fs::path file = answer_file(directory_of(run_dir), id);
    const auto text = monitoring::read_text_if_exists(file);
    if (!text) return std::nullopt;
    const json content = json::parse(*text, nullptr, /*allow_exceptions=*/false);
    std::error_code ignored;
    fs::remove(file, ignored);
    if (!content.is_object()) return Answer{.done = false, .text = "the answer cannot be understood"};
    return Answer{.done = content.value("done", false), .text = content.value("text", "")};
}

bool withdraw_request(const fs::path& run_dir, const std::string& id) {
    std::error_code error;
    return fs::remove(request_file(directory_of(run_dir), id), error) && !error;
}

RequestBox::RequestBox(fs::path run_dir) : directory_(directory_of(run_dir)) {
    for (const std::string_view ending : {kTakenEnding, kEnding}) {
        for (const std::string& id : ids_in(directory_, ending)) {
            seen_.insert(id);
            write(id, {.done = false, .text = "it was meant for a coordinator that is gone; ask again"});
        }
    }
}

std::vector<Request> RequestBox::take(std::string_view verb) {
    std::vector<Request> taken;
    for (const std::string& id : ids_in(directory_)) {
        if (seen_.contains(id)) continue;
        if (open_.size() >= kMaxOpen) break;  // they wait
        const auto request = read(request_file(directory_, id), id);
        if (!request || (!verb.empty() && request->verb != verb)) continue;
        std::error_code withdrawn;
        fs::rename(request_file(directory_, id), taken_file(directory_, id), withdrawn);  // one of us has it
        if (withdrawn) continue;
        seen_.insert(id);
        open_.emplace(id, *request);
        taken.push_back(*request);
    }
    return taken;
}

std::optional<Request> RequestBox::read(const fs::path& file, const std::string& id) {
    try {
        const monitoring::FileStatus status = monitoring::link_status_of(file);
        if (status.kind == monitoring::FileKind::none) return std::nullopt;  // withdrawn
        if (status.kind != monitoring::FileKind::regular) throw ConfigError("request '{}' is not a file", id);
        if (status.bytes > kMaxBytes) throw ConfigError("request '{}' has more than {} bytes", id, kMaxBytes);
        const auto text = monitoring::read_text_if_exists(file);
        if (!text) return std::nullopt;  // withdrawn
        const json content = json::parse(*text, nullptr, /*allow_exceptions=*/false);
        if (!content.is_object()) throw ConfigError("request '{}' is not a JSON object", id);
        return request_from(content, id);
    } catch (const std::exception& error) {
        monitoring::log_warning("{}", error.what());
        seen_.insert(id);
        write(id, {.done = false, .text = error.what()});
        return std::nullopt;
    }
}

void RequestBox::answer(const std::string& id, const Answer& answer) {
    KIBAN_CHECK(open_.erase(id) == 1, "request '{}' is answered and is not open", id);
    write(id, answer);
}

// The answer first: a request without one is never lost from sight.
void RequestBox::write(const std::string& id, const Answer& answer) const {
    try {
        monitoring::publish(answer_file(directory_, id), json{{"done", answer.done}, {"text", answer.text}}.dump(
                                                             -1, ' ', false, json::error_handler_t::replace) +
                                                             "\n");
        std::error_code ignored;
        fs::remove(request_file(directory_, id), ignored);
        fs::remove(taken_file(directory_, id), ignored);
    } catch (const Error& error) {
        monitoring::log_warning("request '{}' cannot be answered: {}", id, error.what());
    }
}

}  // namespace kiban::coordinator
