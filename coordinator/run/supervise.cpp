// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/supervise.h"

#include <csignal>
#include <cstdlib>
#include <utility>

#include "coordinator/protocol/wire.h"
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
            .requests = &session.requests,
            .time_limit = session.time_limit};
}

// False when somebody asked to leave in between.
bool back_off(Session& session, double seconds) {
    for (const double end = monotonic_seconds() + seconds; monotonic_seconds() < end;) {
        session.lease.renew();
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
        RunFile extended = session.run_file;
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
    AttemptHistory history;
    std::uint64_t progress = 0;
    for (;;) {
        if (session.extension) extend(session);
        const std::uint32_t attempt = begin_attempt(session);
        const auto mode = make_mode(attempt);
        AttemptEnd end = Attempt(setup_of(session, attempt), *mode, session.signals).run();
        session.lease.require_current();  // before anything is written
        if (mode->progress() > progress) history = {};
        progress = std::max(progress, mode->progress());
        ++history.ends_without_progress;
        Decision decision = decide(end, history, session.run_file.launch.max_restarts);
        history.previous_failure = end.failure;
        const bool failed = !end.finished && !end.interrupted && !end.asked_to_leave;
        session.board.journal.add(
            "attempt_ended",
            {{"reason", decision.reason}, {"launcher_exit", end.launcher_exit.value_or(-1)}, {"failed", failed}});
        if (end.finished && session.extension && !end.asked_to_leave) continue;
        if (decision.cause == monitoring::kNonFiniteCause) session.board.metrics().step_refused();
        if (decision.kind != Decision::Kind::restart) return {decision, end};

        log_warning("attempt {}: {}; starting again in {} s", attempt, decision.reason, decision.backoff_seconds);
        ++session.board.status.restarts;
        session.board.metrics().restarted(decision.cause, mode->undone_steps());
        session.board.set_state("restarting", decision.reason);
        if (!back_off(session, decision.backoff_seconds)) {
            end.interrupted = true;
            end.asked_to_leave = true;
            end.requeue =
                session.signals.take() == std::optional(SIGUSR1) || session.time_limit.is_up(monotonic_seconds(), 0);
            return {decide(end, history, session.run_file.launch.max_restarts), end};
        }
    }
}

}  // namespace kiban::coordinator
