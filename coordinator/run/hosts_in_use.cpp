// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/hosts_in_use.h"

#include <algorithm>
#include <chrono>

#include "coordinator/launch/hosts.h"
#include "coordinator/run/history.h"
#include "monitoring/error.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

using monitoring::log_warning;

double wall_seconds() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::map<std::string, int> room_of(const Session& session) {
    const LaunchConfig& launch = session.run_file.launch;
    return room_on_hosts(choose_launcher(launch.launcher, current_environment()), current_environment(),
                         launch.threads_per_worker);
}

void show(const Session& session) {
    session.board.status.excluded_hosts.assign(session.excluded_hosts.begin(), session.excluded_hosts.end());
    session.board.metrics().hosts_excluded(session.excluded_hosts.size());
}

void go_on_with(Session& session, int workers) {
    int& now = session.run_file.launch.workers;
    if (workers == now) return;
    log_warning("going on with {} worker(s) instead of {}", workers, now);
    session.board.journal.try_add("workers_changed", {{"from", now}, {"to", workers}});
    now = workers;
    session.pace = {};  // steps take longer from now on
}

}  // namespace

int workers_that_fit(const RunFile& run_file, int most, int least) {
    const int unit = run_file.parallel.tensor * run_file.parallel.pipeline;
    for (int workers = most / unit * unit; workers >= std::max(least, 1); workers -= unit) {
        RunFile candidate = run_file;
        candidate.launch.workers = workers;
        try {
            validate(candidate);
            return workers;
        } catch (const ConfigError&) {
            continue;
        }
    }
    return 0;
}

int workers_without(const Session& session, const std::set<std::string>& out) {
    const auto hosts = room_of(session);
    const auto named = [&](const std::string& host) {
        return std::ranges::any_of(hosts,
                                   [&](const auto& there) { return short_host(there.first) == short_host(host); });
    };
    if (!std::ranges::all_of(out, named)) return 0;  // the launcher knows it by another name, and would start there
    const int room = room_left(hosts, out);
    if (room >= session.asked_workers) return session.asked_workers;
    const auto least = static_cast<int>(session.run_file.supervise.min_workers);
    return least == 0 ? 0 : workers_that_fit(session.run_file, room, least);
}

void leave_out_hosts(Session& session, const Decision& decision) {
    if (decision.exclude_hosts.empty()) return;
    const double until = wall_seconds() + 3600 * session.run_file.supervise.exclude_hours;
    for (const std::string& host : decision.exclude_hosts) {
        session.excluded_hosts.insert(host);
        session.board.journal.try_add("host_left_out", {{"host", host}, {"until", until}, {"why", decision.rule}});
    }
    go_on_with(session, decision.workers);
    show(session);
}

void take_up_left_out_hosts(Session& session) {
    if (session.run_file.supervise.exclude_hours == 0) return;
    const auto before = left_out_hosts(read_journal(session.directory.journal()), wall_seconds());
    std::set<std::string> out;
    for (const auto& [host, room] : room_of(session)) {
        if (holds_host(before, host)) out.insert(short_host(host));
    }
    if (out.empty()) return;
    const int workers = workers_without(session, out);
    if (workers == 0) {
        const std::string hosts = fmt::format("{}", fmt::join(out, ", "));
        log_warning("the run was left without hosts {} before, but needs them now: they are taken again", hosts);
        session.board.journal.try_add("hosts_taken_again", {{"hosts", out}});
        session.board.status.decision = fmt::format("hosts_taken_again: the others have no room without {}", hosts);
        return;
    }
    log_warning("starting without hosts {}, as before; --set supervise.exclude_hours=0 takes them again",
                fmt::join(out, ", "));
    session.excluded_hosts = out;
    go_on_with(session, workers);
    show(session);
}

RunFile as_asked(const Session& session) {
    RunFile run_file = session.run_file;
    run_file.launch.workers = session.asked_workers;
    return run_file;
}

}  // namespace kiban::coordinator
