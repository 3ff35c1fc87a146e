// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/time_spent.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>

#include "monitoring/file.h"
#include "monitoring/rewrite.h"

namespace kiban::coordinator {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;
constexpr const char* kFile = "seconds.json";

void add(std::map<int, WorkerTime>& all, const json& content) {
    if (content.value("format", 0) != kFormat) return;
    for (const json& worker : content.at("workers")) {
        const int rank = worker.at("rank").get<int>();
        WorkerTime& time = all[rank];
        time.rank = rank;
        time.host = worker.at("host").get<std::string>();
        for (const auto& [phase, seconds] : worker.at("seconds").items()) time.seconds[phase] += seconds.get<double>();
    }
}

// logs/attempt-2 before logs/attempt-10.
std::vector<std::uint32_t> attempts_in(const RunDirectory& directory) {
    std::vector<std::uint32_t> attempts;
    if (!monitoring::directory_at(directory.logs())) return attempts;
    constexpr std::string_view kBefore = "attempt-";
    for (const std::string& name : monitoring::names_in(directory.logs())) {
        const std::string number = name.starts_with(kBefore) ? name.substr(kBefore.size()) : "";
        if (number.empty() || number.size() > 9 || number.find_first_not_of("0123456789") != std::string::npos)
            continue;
        attempts.push_back(static_cast<std::uint32_t>(std::stoul(number)));
    }
    std::sort(attempts.begin(), attempts.end());
    return attempts;
}

}  // namespace

void write_time_spent(const RunDirectory& directory, std::uint32_t attempt, const Membership& members) {
    json workers = json::array();
    for (std::size_t rank = 0; rank < members.members().size(); ++rank) {
        const Member& member = members.members()[rank];
        if (!member.hello || member.heartbeat.phase_seconds.empty()) continue;
        json seconds = json::object();
        for (const auto& [phase, value] : member.heartbeat.phase_seconds) {
            if (std::isfinite(value)) seconds[phase] = value;
        }
        workers.push_back({{"rank", rank}, {"host", member.hello->host}, {"seconds", seconds}});
    }
    if (workers.empty()) return;
    const json content = {{"format", kFormat}, {"workers", workers}};
    monitoring::rewrite(directory.logs(attempt) / kFile,
                        content.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
}

std::vector<WorkerTime> read_time_spent(const RunDirectory& directory, std::uint32_t first) {
    std::map<int, WorkerTime> all;
    for (const std::uint32_t attempt : attempts_in(directory)) {
        if (attempt < first) continue;
        const auto text = monitoring::read_text_if_exists(directory.logs(attempt) / kFile);
        if (!text) continue;
        try {
            std::map<int, WorkerTime> with = all;
            add(with, json::parse(*text));
            all = std::move(with);
        } catch (const json::exception&) {
        }
    }
    std::vector<WorkerTime> times;
    for (auto& [rank, time] : all) times.push_back(std::move(time));
    return times;
}

}  // namespace kiban::coordinator
