// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/preflight.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

using Kind = Finding::Kind;
constexpr double kSlow = 0.5;  // of the median
constexpr double kClockSeconds = 2;

struct Speed {
    std::string host;
    double value = 0;
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::string speed_text(double bytes) { return fmt::format("{:.2f} GB/s", bytes / 1e9); }

Finding of_speeds(const char* what, const std::vector<Speed>& speeds) {
    std::vector<double> values;
    for (const Speed& speed : speeds) values.push_back(speed.value);
    if (values.empty()) return {Kind::fine, what, "one worker alone: there is none to measure"};
    const double middle = median(values);
    std::vector<std::string> slow;
    for (const Speed& speed : speeds) {
        if (speed.value < kSlow * middle) slow.push_back(fmt::format("{} has {}", speed.host, speed_text(speed.value)));
    }
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    if (slow.empty()) return {Kind::fine, what, fmt::format("{} to {}", speed_text(*least), speed_text(*most))};
    return {
        Kind::note, what,
        fmt::format("the median is {}, but {}: a step waits for the slowest; exclude it (sbatch --exclude), or find "
                    "out why",
                    speed_text(middle), fmt::join(slow, ", "))};
}

std::vector<Speed> of_hosts(const std::vector<PreflightRow>& rows, double PreflightRow::*speed, bool sum) {
    std::map<std::string, double> hosts;
    for (const PreflightRow& row : rows) {
        if (row.*speed <= 0) continue;
        double& value = hosts[row.host];
        value = sum ? value + row.*speed : std::max(value, row.*speed);
    }
    std::vector<Speed> speeds;
    for (const auto& [host, value] : hosts) speeds.push_back({host, value});
    return speeds;
}

Finding of_links(const std::vector<PreflightRow>& rows) {
    std::vector<Speed> speeds;
    for (const PreflightRow& row : rows) {
        if (row.link_speed > 0) speeds.push_back({fmt::format("{} to {}", row.host, row.link_host), row.link_speed});
    }
    return of_speeds("link", speeds);
}

Finding of_nodes(const std::vector<PreflightRow>& rows, const PreflightExpectation& expected) {
    std::set<std::string> hosts;
    for (const PreflightRow& row : rows) hosts.insert(row.host);
    const auto found = static_cast<int>(hosts.size());
    const std::string text = fmt::format("{} workers on {}: {}", rows.size(), found, fmt::join(hosts, ", "));
    if (expected.nodes == 0 || found == expected.nodes) return {Kind::fine, "nodes", text};
    return {Kind::note, "nodes",
            fmt::format("{}; the allocation has {} nodes: the others were not looked at", text, expected.nodes)};
}

Finding of_directory(const std::vector<PreflightRow>& rows, const PreflightExpectation& expected) {
    std::map<std::string, std::string> blind;
    for (const PreflightRow& row : rows) {
        if (row.nonce != expected.nonce) blind.emplace(row.host, row.nonce);
    }
    if (blind.empty()) {
        return {Kind::fine, "shared directory",
                fmt::format("every worker reads in '{}' what was just written there", expected.directory)};
    }
    std::vector<std::string> hosts;
    for (const auto& [host, found] : blind) hosts.push_back(fmt::format("{} (found {})", host, found));
    return {
        Kind::missing, "shared directory",
        fmt::format("what was just written into '{}' is not seen on {}: run directory, corpora and text must be on a "
                    "file system that every node mounts",
                    expected.directory, fmt::join(hosts, ", "))};
}

struct HostBits {
    std::set<std::string> bits;  // of its workers
    std::string kernels;
};

using BitsOfHosts = std::map<std::string, HostBits>;

BitsOfHosts bits_of_hosts(const std::vector<PreflightRow>& rows) {
    BitsOfHosts hosts;
    for (const PreflightRow& row : rows) {
        hosts[row.host].bits.insert(row.bits);
        hosts[row.host].kernels = row.kernels;
    }
    return hosts;
}

std::string why_other(const std::string& host, const std::string& kernels, const std::string& right_kernels) {
    if (kernels == right_kernels)
        return fmt::format("{} with the same kernels: its hardware is at fault, exclude it", host);
    return fmt::format(
        "{} with other kernels ({} instead of {}): its processor is another one, ask for one kind (sbatch "
        "--constraint)",
        host, kernels, right_kernels);
}

// Without a majority nobody is to blame.
std::string undecided(const BitsOfHosts& hosts) {
    std::vector<std::string> names;
    std::set<std::string> kernels;
    for (const auto& [host, found] : hosts) {
        names.push_back(fmt::format("{} ({})", host, found.kernels));
        kernels.insert(found.kernels);
    }
    return fmt::format("{}, and no majority says which of them are right: {}", fmt::join(names, ", "),
                       kernels.size() > 1 ? "their kernels differ, ask for one kind of processor (sbatch --constraint)"
                                          : "look again with one more node");
}

// The bits that most nodes have are taken for right. A node whose own workers disagree has no say.
Finding of_bits(const std::vector<PreflightRow>& rows) {
    BitsOfHosts hosts = bits_of_hosts(rows);
    std::vector<std::string> texts;
    for (const auto& [host, found] : hosts) {
        if (found.bits.size() > 1)
            texts.push_back(fmt::format("{} from worker to worker: its hardware is at fault, exclude it", host));
    }
    std::erase_if(hosts, [](const auto& host) { return host.second.bits.size() > 1; });
    std::map<std::string, std::size_t> votes;
    for (const auto& [host, found] : hosts) ++votes[*found.bits.begin()];
    const auto most = std::ranges::max_element(votes, {}, [](const auto& vote) { return vote.second; });
    if (texts.empty() && votes.size() == 1)
        return {Kind::fine, "training step", fmt::format("every worker computes the same bits ({:.12})", most->first)};
    if (votes.size() > 1 && most->second * 2 <= hosts.size()) {
        texts.push_back(undecided(hosts));
    } else if (votes.size() > 1) {
        const auto has_right = [&](const auto& host) { return host.second.bits.contains(most->first); };
        const std::string right_kernels = std::ranges::find_if(hosts, has_right)->second.kernels;
        for (const auto& host : hosts)
            if (!has_right(host)) texts.push_back(why_other(host.first, host.second.kernels, right_kernels));
    }
    return {Kind::missing, "training step", fmt::format("other bits on {}", fmt::join(texts, "; "))};
}

Finding of_clocks(const std::vector<PreflightRow>& rows) {
    std::vector<double> clocks;
    for (const PreflightRow& row : rows) clocks.push_back(row.clock_seconds);
    const double middle = median(clocks);
    std::map<std::string, double> wrong;
    double most = 0;
    for (const PreflightRow& row : rows) {
        const double skew = row.clock_seconds - middle;
        most = std::max(most, std::abs(skew));
        if (std::abs(skew) > kClockSeconds) wrong.emplace(row.host, skew);
    }
    if (wrong.empty()) return {Kind::fine, "clocks", fmt::format("within {:.3f} s of each other", 2 * most)};
    std::vector<std::string> texts;
    for (const auto& [host, skew] : wrong) texts.push_back(fmt::format("{} by {:+.1f} s", host, skew));
    return {Kind::note, "clocks",
            fmt::format("wrong on {}: no decision depends on it, but times in logs and in Prometheus do",
                        fmt::join(texts, ", "))};
}

}  // namespace

std::string to_json(const std::vector<PreflightRow>& rows) {
    nlohmann::json all = nlohmann::json::array();
    for (const PreflightRow& row : rows) {
        all.push_back({{"rank", row.rank},
                       {"host", row.host},
                       {"kernels", row.kernels},
                       {"nonce", row.nonce},
                       {"clock_seconds", row.clock_seconds},
                       {"memory_speed", row.memory_speed},
                       {"disk_speed", row.disk_speed},
                       {"link_speed", row.link_speed},
                       {"link_host", row.link_host},
                       {"bits", row.bits},
                       {"step_seconds", row.step_seconds}});
    }
    return all.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::vector<PreflightRow> preflight_rows_from_json(const std::string& text) {
    try {
        std::vector<PreflightRow> rows;
        for (const nlohmann::json& row : nlohmann::json::parse(text)) {
            rows.push_back({.rank = row.at("rank"),
                            .host = row.at("host"),
                            .kernels = row.at("kernels"),
                            .nonce = row.at("nonce"),
                            .clock_seconds = row.at("clock_seconds"),
                            .memory_speed = row.at("memory_speed"),
                            .disk_speed = row.at("disk_speed"),
                            .link_speed = row.at("link_speed"),
                            .link_host = row.at("link_host"),
                            .bits = row.at("bits"),
                            .step_seconds = row.at("step_seconds")});
        }
        return rows;
    } catch (const nlohmann::json::exception& error) {
        throw ConfigError("the answer of the preflight cannot be understood: {}", error.what());
    }
}

std::vector<Finding> judge(const std::vector<PreflightRow>& rows, const PreflightExpectation& expected) {
    KIBAN_CHECK(!rows.empty(), "a preflight of no worker");
    return {of_nodes(rows, expected),
            of_directory(rows, expected),
            of_speeds("memory", of_hosts(rows, &PreflightRow::memory_speed, true)),
            of_speeds("disk", of_hosts(rows, &PreflightRow::disk_speed, false)),
            of_links(rows),
            of_bits(rows),
            of_clocks(rows)};
}

}  // namespace kiban::coordinator
