// SPDX-License-Identifier: Apache-2.0
#include "coordinator/launch/hosts.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <regex>
#include <sstream>

#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

constexpr std::size_t kMostHosts = 1 << 16;

std::string value_of(const Environment& environment, const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? "" : found->second;
}

std::map<std::string, int> room_in_host_file(const std::string& file) {
    std::map<std::string, int> room;
    std::istringstream lines(monitoring::read_text_if_exists(file).value_or(""));
    static const std::regex entry(R"(^\s*([A-Za-z0-9._-]+)(?:\s+slots=(\d{1,6}))?\s*$)");
    std::smatch match;
    for (std::string line; std::getline(lines, line);) {
        if (std::regex_match(line, match, entry)) room[match[1]] += match[2].matched ? std::stoi(match[2]) : 1;
    }
    return room;
}

// "8(x2),4": CPUs of each node, in the order of the list.
std::vector<int> cpus_per_node(const std::string& text) {
    std::vector<int> cpus;
    static const std::regex part(R"((\d{1,6})(?:\(x(\d{1,5})\))?)");
    for (auto match = std::sregex_iterator(text.begin(), text.end(), part); match != std::sregex_iterator(); ++match) {
        const int times = (*match)[2].matched ? std::stoi((*match)[2]) : 1;
        cpus.insert(cpus.end(), static_cast<std::size_t>(times), std::stoi((*match)[1]));
        if (cpus.size() > kMostHosts) return {};
    }
    return cpus;
}

// "n[1-3,07]" after the bracket is open: the names that it stands for.
bool expand_numbers(const std::string& prefix, const std::string& numbers, const std::string& suffix,
                    std::vector<std::string>& names) {
    static const std::regex range(R"((\d{1,9})(?:-(\d{1,9}))?)");
    std::istringstream parts(numbers);
    std::smatch match;
    for (std::string part; std::getline(parts, part, ',');) {
        if (!std::regex_match(part, match, range)) return false;
        const std::string first = match[1];
        const int last = match[2].matched ? std::stoi(match[2]) : std::stoi(first);
        for (int number = std::stoi(first); number <= last; ++number) {
            names.push_back(fmt::format("{}{:0{}}{}", prefix, number, first.size(), suffix));
            if (names.size() > kMostHosts) return false;
        }
    }
    return true;
}

}  // namespace

std::vector<std::string> expand_node_list(const std::string& list) {
    std::vector<std::string> names;
    static const std::regex entry(R"(([A-Za-z0-9._-]+)(?:\[([0-9,-]+)\]([A-Za-z0-9._-]*))?(?:,|$))");
    auto at = list.cbegin();
    std::smatch match;
    while (at != list.cend()) {
        if (!std::regex_search(at, list.cend(), match, entry, std::regex_constants::match_continuous)) return {};
        if (!match[2].matched) {
            names.push_back(match[1]);
        } else if (!expand_numbers(match[1], match[2], match[3], names)) {
            return {};
        }
        at = match[0].second;
    }
    return names;
}

std::map<std::string, int> room_on_hosts(LauncherKind launcher, const Environment& environment,
                                         int threads_per_worker) {
    const std::string host_file = value_of(environment, "OMPI_MCA_orte_default_hostfile");
    if (launcher == LauncherKind::mpirun && !host_file.empty()) return room_in_host_file(host_file);
    const auto names = expand_node_list(value_of(environment, "SLURM_JOB_NODELIST"));
    const auto cpus = cpus_per_node(value_of(environment, "SLURM_JOB_CPUS_PER_NODE"));
    std::map<std::string, int> room;
    if (names.size() != cpus.size()) return room;
    const std::string tasks = value_of(environment, "SLURM_NTASKS_PER_NODE");
    const bool limited =
        !tasks.empty() && tasks.size() < 7 && tasks.find_first_not_of("0123456789") == std::string::npos;
    const int most = limited ? std::stoi(tasks) : std::numeric_limits<int>::max();
    for (std::size_t i = 0; i < names.size(); ++i)
        room[names[i]] = std::min(most, cpus[i] / std::max(1, threads_per_worker));
    return room;
}

std::string short_host(const std::string& name) {
    const bool is_address = name.find_first_not_of("0123456789.") == std::string::npos;
    return is_address ? name : name.substr(0, name.find('.'));
}

bool holds_host(const std::set<std::string>& hosts, const std::string& host) {
    return std::ranges::count(hosts, short_host(host), short_host) != 0;
}

int room_left(const std::map<std::string, int>& room, const std::set<std::string>& out) {
    int all = 0;
    for (const auto& [host, here] : room) all += holds_host(out, host) ? 0 : here;
    return all;
}

}  // namespace kiban::coordinator
