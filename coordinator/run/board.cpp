// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/board.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <utility>

#include "checkpoint/commit.h"
#include "coordinator/protocol/wire.h"
#include "coordinator/run/time_spent.h"
#include "monitoring/config.h"
#include "monitoring/error.h"
#include "monitoring/expose.h"
#include "monitoring/file.h"
#include "monitoring/log.h"
#include "monitoring/rewrite.h"

namespace kiban::coordinator {

namespace {

// Several runs may share a node: what nobody asked for gives way. So does what was asked for where the run has
// something to lose: it may go on on a node on which somebody else has that port.
std::unique_ptr<monitoring::MetricsServer> serve(const monitoring::RunMetrics& metrics, const std::string& listen,
                                                 const RunDirectory& directory) {
    try {
        return std::make_unique<monitoring::MetricsServer>(metrics, listen);
    } catch (const ConfigError& error) {
        const bool gives_way =
            listen == monitoring::MonitoringConfig{}.listen || !checkpoint::list_checkpoints(directory.root()).empty();
        if (!gives_way) throw;
        auto server = std::make_unique<monitoring::MetricsServer>(metrics, listen.substr(0, listen.rfind(':')) + ":0");
        monitoring::log_warning("{}: they are on port {} instead (targets.json, kiban status)", error.what(),
                                server->port());
        return server;
    }
}

}  // namespace

Board::Board(const RunDirectory& directory, const monitoring::RunIdentity& identity, const std::string& listen,
             std::function<bool()> owns_run)
    : journal(directory.journal()),
      directory_(directory),
      file_(directory.status()),
      targets_file_(directory.root() / "targets.json"),
      owns_run_(std::move(owns_run)),
      metrics_(identity) {
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    status.run = identity.run;
    status.host = host.data();
    status.pid = ::getpid();
    status.steps = identity.target_steps;
    status.state = "starting";
    if (listen.empty()) {
        take_targets_away();  // one that was killed left its own
        return;
    }
    server_ = serve(metrics_, listen, directory_);
    const std::string address = listen.substr(0, listen.rfind(':'));
    status.metrics = fmt::format("http://{}:{}/metrics", address, server_->port());
    // Who listens on every address is reached by its name. No label: the series carry the run themselves.
    const std::string target = fmt::format("{}:{}", address == "0.0.0.0" ? status.host : address, server_->port());
    try_to_write("where the metrics are", [&] {
        const auto targets = nlohmann::json::array({nlohmann::json{{"targets", nlohmann::json::array({target})}}});
        monitoring::publish(targets_file_, targets.dump() + "\n");
    });
}

Board::~Board() {
    if (server_) take_targets_away();
}

// Only the owner of the run: a coordinator that was overtaken would take the file of the new one, which may say the
// same.
void Board::take_targets_away() {
    try {
        if (owns_run_()) std::filesystem::remove(targets_file_);
    } catch (const std::exception& error) {
        monitoring::log_warning("cannot take '{}' away: {}", targets_file_.string(), error.what());
    }
}

void Board::set_state(const std::string& state, const std::string& message) {
    status.state = state;
    status.message = message;
    const bool with_workers = state == "preparing" || state == "starting" || state == "training" || state == "saving";
    if (!with_workers) metrics_.workers_gone();  // their attempt is over, however the last look at them went
    metrics_.set_state(state == "stopped" || state == "prepared" ? "done"
                                                                 : state);  // the endpoint goes with the process
    if (!with_workers) write_metrics();
    write();
}

void Board::tick(const Membership& members) {
    const double now = monotonic_seconds();
    status.workers.clear();
    for (std::size_t rank = 0; rank < members.members().size(); ++rank) {
        const Member& member = members.members()[rank];
        const int number = static_cast<int>(rank);
        metrics_.worker_up(number, members.answers(number, now));
        if (!member.hello) continue;
        const double age = std::max(0.0, now - member.last_heard);
        metrics_.worker_heartbeat_age(number, age);
        metrics_.worker_step(number, member.heartbeat.step);
        metrics_.worker_seconds(number, member.heartbeat.phase_seconds);
        metrics_.worker_memory(number, member.heartbeat.resident_bytes, member.heartbeat.optimizer_bytes);
        status.workers.push_back({.rank = number,
                                  .host = member.hello->host,
                                  .pid = member.hello->pid,
                                  .phase = member.finished ? "done" : member.heartbeat.phase,
                                  .step = member.heartbeat.step,
                                  .resident_bytes = member.heartbeat.resident_bytes,
                                  .optimizer_bytes = member.heartbeat.optimizer_bytes,
                                  .heartbeat_age_seconds = age,
                                  .own_seconds = member.own_seconds.value_or(0),
                                  .straggler = member.straggler});
        note_straggler(number, member);
    }
    write();
    if (now < files_written_ + monitoring::kMetricsFileSeconds) return;
    files_written_ = now;
    write_files(members);
}

void Board::waiting() {
    const double now = monotonic_seconds();
    if (now < files_written_ + monitoring::kMetricsFileSeconds) return;
    files_written_ = now;
    write_metrics();
}

void Board::attempt_over(const Membership& members) { write_files(members); }

void Board::write_files(const Membership& members) {
    write_metrics();
    try_to_write("where the time went", [&] { write_time_spent(directory_, status.attempt, members); });
}

// For `kiban expose` on a machine that cannot reach this one.
void Board::write_metrics() {
    try_to_write("the metrics",
                 [this] { monitoring::rewrite(directory_.root() / monitoring::kMetricsFile, metrics_.text()); });
}

// They inform; a run does not end for them.
void Board::try_to_write(const char* what, const std::function<void()>& write) {
    try {
        write();
        unwritten_.erase(what);
    } catch (const std::exception& error) {
        if (unwritten_.insert(what).second) monitoring::log_warning("cannot write {}: {}", what, error.what());
    }
}

void Board::note_straggler(int rank, const Member& member) {
    if (member.own_seconds) metrics_.worker_busy(rank, *member.own_seconds, member.straggler);
    if (!member.straggler) {
        stragglers_.erase(rank);
    } else if (stragglers_.insert(rank).second) {
        monitoring::log_warning("worker {} on {} is a straggler: {:.3f} s of its own in a step, far above the others",
                                rank, member.hello->host, *member.own_seconds);
        journal.try_add("straggler",
                        {{"worker", rank}, {"host", member.hello->host}, {"seconds", *member.own_seconds}});
    }
}

void Board::write() {
    status.wall_time = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    try_to_write("the status", [this] { write_status(file_, status); });
}

}  // namespace kiban::coordinator
