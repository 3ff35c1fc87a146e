// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/supervise.h"

#include <csignal>
#include <cstdlib>
#include <functional>
#include <utility>

#include "coordinator/protocol/wire.h"
#include "coordinator/run/history.h"
#include "coordinator/run/hosts_in_use.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

using monitoring::log_info;
using monitoring::log_warning;

std::uint32_t begin_attempt(Session& session) {
    const std::uint32_t attempt = session.attempt_used ? session.lease.next_attempt() : session.lease.attempt();
    session.attempt_used = true;
    const char* job = std::getenv("SLURM_JOB_ID");
    session.board.status.attempt = attempt;
    session.board.journal.set_attempt(attempt);
    session.board.journal.add("attempt_started", {{"workers", session.run_file.launch.workers}});
    session.board.metrics().attempt_started(attempt, job != nullptr ? job : "");
    log_info("attempt {}: starting {} worker(s)", attempt, session.run_file.launch.workers);
    return attempt;
}

AttemptSetup setup_of(Session& session, std::uint32_t attempt) {
    return {.run_dir = session.directory.root(),
            .log_dir = session.directory.logs(attempt),
            .run_id = session.run_id,
            .attempt = attempt,
            .launch = session.run_file.launch,
            .keep_lease = [&session] { session.lease.renew(); },
            .tick = [&session](const Membership& members) { session.board.tick(members); },
            .over = [&session](const Membership& members) { session.board.attempt_over(members); },
            .requests = &session.requests,
            .time_limit = session.time_limit,
            .excluded_hosts = session.excluded_hosts,
            .supervise = session.run_file.supervise,
            .pace = &session.pace};
}

PolicyRules rules_of(const RunFile& run_file) {
    return {.max_restarts = run_file.launch.max_restarts,
            .supervise = run_file.supervise,
            .max_rollbacks = run_file.anomaly.max_rollbacks};
}

PolicyEvent event_of(const Session& session, const AttemptEnd& end, const AttemptMode& mode, std::uint64_t progress) {
    const std::size_t seed = std::hash<std::string>{}(session.run_id) + session.board.status.attempt;
    return {.end = end,
            .now = monotonic_seconds(),
            .progress = mode.progress() > progress,
            .older_checkpoint = mode.has_older_checkpoint(),
            .jitter = static_cast<double>(seed % 1024) / 1024,
            .workers_without = [&session](const std::set<std::string>& out) { return workers_without(session, out); },
            .may_requeue = std::getenv("SLURM_JOB_ID") != nullptr};
}

const char* word_of(Decision::Kind kind) {
    switch (kind) {
        case Decision::Kind::done: return "done";
        case Decision::Kind::restart: return "restart";
        case Decision::Kind::stop: return "stop";
    }
    return "stop";
}

void note_end(Session& session, const AttemptEnd& end, const std::string& reason, bool failed) {
    session.board.journal.add(
        "attempt_ended", {{"reason", reason}, {"launcher_exit", end.launcher_exit.value_or(-1)}, {"failed", failed}});
}

// A run that ends well needs no explanation; what else is decided is told where people look.
void note_decision(Session& session, const Decision& decision, const AttemptEnd& end) {
    session.board.metrics().decided(decision.rule);
    if (!end.hang.empty()) {
        session.board.metrics().hang(end.place ? end.place->phase : "unknown");
        session.board.journal.add("hang", {{"report", end.hang}, {"lost", end.lost}});
    }
    session.board.status.decision = fmt::format("{}: {}", decision.rule, decision.reason);
    nlohmann::json fields = {{"rule", decision.rule},
                             {"action", word_of(decision.kind)},
                             {"cause", decision.cause},
                             {"reason", decision.reason}};
    if (decision.kind == Decision::Kind::stop) fields["exit_code"] = decision.exit_code;
    if (decision.kind == Decision::Kind::restart) fields["backoff_seconds"] = decision.backoff_seconds;
    if (end.place) {
        fields["place"] = {{"worker", end.place->rank},
                           {"host", end.place->host},
                           {"phase", end.place->phase},
                           {"step", end.place->step}};
    }
    if (!decision.exclude_hosts.empty()) fields["hosts"] = decision.exclude_hosts;
    if (decision.kind != Decision::Kind::done) session.board.journal.add("decision", fields);
}

// False when somebody asked to leave in between.
bool back_off(Session& session, double seconds) {
    for (const double end = monotonic_seconds() + seconds; monotonic_seconds() < end;) {
        session.lease.renew();
        session.board.waiting();
        if (!session.requests.take("stop").empty()) return false;
        if (session.time_limit.is_up(monotonic_seconds(), 0)) return false;
        if (session.signals.wait(std::min(1.0, std::max(0.0, end - monotonic_seconds())))) return false;
    }
    return true;
}

// From the journal the next start knows what the run file at hand does not say (extended_steps).
void extend(Session& session) {
    const Request request = *std::exchange(session.extension, std::nullopt);
    const std::uint64_t before = session.run_file.train.steps;
    try {
        RunFile extended = as_asked(session);
        extended.train.steps = request.steps;
        monitoring::publish(session.directory.run_file(), to_toml(extended));
        session.board.journal.add("extended", {{"from", before}, {"to", request.steps}, {"by", request.by}});
    } catch (const Error& error) {
        log_warning("the run is not extended, it goes on to step {}: {}", before, error.what());
        session.requests.answer(request.id, {.done = false, .text = error.what()});
        return;
    }
    session.run_file.train.steps = request.steps;
    session.board.status.steps = request.steps;
    session.board.metrics().set_target_steps(request.steps);
    log_info("the run is extended from {} to {} steps", before, request.steps);
    session.requests.answer(request.id,
                            {.done = true, .text = fmt::format("the run goes on to step {}", request.steps)});
}

}  // namespace

void answer_open_requests(RequestBox& requests, const std::string& reason, bool stopped) {
    const auto open = requests.open();
    for (const auto& [id, request] : open) {
        requests.answer(
            id, {.done = stopped && request.verb == "stop", .text = fmt::format("the run has ended: {}", reason)});
    }
}

Outcome supervise(Session& session,
                  const std::function<std::unique_ptr<AttemptMode>(std::uint32_t attempt)>& make_mode) {
    PolicyState state = policy_state(read_journal(session.directory.journal()));
    state.excluded = session.excluded_hosts;
    for (;;) {
        if (session.extension) extend(session);
        const std::uint32_t attempt = begin_attempt(session);
        const auto mode = make_mode(attempt);
        const std::uint64_t progress = mode->progress();
        AttemptEnd end = Attempt(setup_of(session, attempt), *mode, session.signals).run();
        session.lease.require_current();  // before anything is written
        const bool failed = !end.finished && !end.interrupted && !end.asked_to_leave;
        if (end.finished && session.extension && !end.asked_to_leave) {
            note_end(session, end, describe(end), failed);
            continue;
        }
        auto [decision, next] = decide(state, event_of(session, end, *mode, progress), rules_of(session.run_file));
        state = std::move(next);
        note_end(session, end, decision.reason, failed);
        note_decision(session, decision, end);
        if (decision.requeue) end.requeue = true;
        if (decision.kind != Decision::Kind::restart) return {decision, end};

        mode->before_restart(decision);
        leave_out_hosts(session, decision);
        log_warning("attempt {}: {}; starting again in {:.1f} s", attempt, decision.reason, decision.backoff_seconds);
        ++session.board.status.restarts;
        session.board.metrics().restarted(decision.cause, mode->undone_steps(), mode->undone_tokens());
        session.board.set_state("restarting", decision.reason);
        if (!back_off(session, decision.backoff_seconds)) {
            end.interrupted = true;
            end.asked_to_leave = true;
            end.requeue = asks_for_requeue(session.signals.take().value_or(0)) ||
                          session.time_limit.is_up(monotonic_seconds(), 0);
            return {decide_once(end), end};
        }
    }
}

}  // namespace kiban::coordinator
