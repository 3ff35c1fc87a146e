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
    session.board.journal.try_add("attempt_started", {{"workers", session.run_file.launch.workers}});
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
            .pace = &session.pace,
            .on_stop_for_good = [&session] { stay_away(session, kExitRequeue); }};
}

PolicyRules rules_of(const RunFile& run_file) {
    return {.max_restarts = run_file.launch.max_restarts,
            .supervise = run_file.supervise,
            .max_rollbacks = run_file.anomaly.max_rollbacks};
}

// One attempt, as far as it came.
struct Tried {
    bool begun = false;                 // it has a number
    std::unique_ptr<AttemptMode> mode;  // none where the disk did not even allow for that
    std::uint64_t progress = 0;         // durable, before it
    AttemptEnd end;
};

AttemptEnd end_of(const IoError& error) {
    AttemptEnd end;
    end.failure =
        Failure{.type = error.type_name(), .message = error.what(), .step = 0, .exit_code = error.exit_code()};
    return end;
}

// What the disk refuses the coordinator before there are workers is an end as others are: the policy judges it.
Tried try_once(Session& session, const ModeMaker& make_mode) {
    Tried tried;
    try {
        const std::uint32_t attempt = begin_attempt(session);
        tried.begun = true;
        tried.mode = make_mode(attempt);
        tried.progress = tried.mode->progress();
        tried.end = Attempt(setup_of(session, attempt), *tried.mode, session.signals).run();
        tried.end.undone_steps = tried.mode->undone_steps();
    } catch (const IoError& error) {
        tried.end = end_of(error);
    }
    return tried;
}

// CommError when the run is another's. False when the disk does not let us look: then nothing may be written, and that
// is how the attempt ended, unless it ended well.
bool is_ours(const Session& session, AttemptEnd& end) {
    try {
        session.lease.require_current();
        return true;
    } catch (const IoError& error) {
        log_warning("cannot look whether the run is still ours: {}", error.what());
        if (end.finished || end.interrupted) return false;
        AttemptEnd unknown = end_of(error);
        unknown.asked_to_leave = end.asked_to_leave;
        unknown.requeue = end.requeue;
        unknown.began = end.began;
        unknown.undone_steps = end.undone_steps;
        unknown.left_behind = end.left_behind;
        end = std::move(unknown);
        return false;
    }
}

// What cannot be looked at now is no way out.
template <typename Answer>
Answer unless_refused(const std::function<Answer()>& look) {
    try {
        return look();
    } catch (const IoError& error) {
        log_warning("cannot look for a way to go on: {}", error.what());
        return Answer{};
    }
}

PolicyEvent event_of(const Session& session, const Tried& tried) {
    const std::size_t seed = std::hash<std::string>{}(session.run_id) + session.board.status.attempt;
    return {
        .end = tried.end,
        .now = monotonic_seconds(),
        .progress = tried.mode && tried.mode->progress() > tried.progress,
        .older_checkpoint = unless_refused<bool>([&tried] { return tried.mode && tried.mode->has_older_checkpoint(); }),
        .jitter = static_cast<double>(seed % 1024) / 1024,
        .workers_without =
            [&session](const std::set<std::string>& out) {
                return unless_refused<int>([&] { return workers_without(session, out); });
            },
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

void note_end(Session& session, const AttemptEnd& end, const std::string& reason) {
    const bool failed = !end.finished && !end.interrupted && !end.asked_to_leave;
    session.board.journal.try_add(
        "attempt_ended", {{"reason", reason}, {"launcher_exit", end.launcher_exit.value_or(-1)}, {"failed", failed}});
}

void write_down(Session& session, const Decision& decision, const AttemptEnd& end) {
    if (!end.hang.empty()) session.board.journal.try_add("hang", {{"report", end.hang}, {"lost", end.lost}});
    if (decision.kind == Decision::Kind::done) return;
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
    session.board.journal.try_add("decision", fields);
}

Decision decide_on(const Session& session, PolicyState& state, const Tried& tried) {
    Transition transition = decide(state, event_of(session, tried), rules_of(session.run_file));
    state = std::move(transition.state);
    return transition.decision;
}

// Decides, tells it, and does what is to be done before a restart. Where the disk refuses that, it is as if it had not
// been decided: the next attempt comes to the same place again, after the wait for the disk.
Decision judge(Session& session, PolicyState& state, Tried& tried) {
    const bool ours = is_ours(session, tried.end);
    const PolicyState before = state;
    Decision decision = decide_on(session, state, tried);
    if (ours && tried.begun) note_end(session, tried.end, decision.reason);
    note_decision(session, decision, tried.end, ours);
    if (decision.requeue) tried.end.requeue = true;
    if (decision.kind != Decision::Kind::restart) return decision;
    try {
        if (tried.mode) tried.mode->before_restart(decision);
        leave_out_hosts(session, decision);
    } catch (const IoError& error) {
        state = before;
        tried.end = end_of(error);
        decision = decide_on(session, state, tried);
        note_decision(session, decision, tried.end, ours);
    }
    return decision;
}

void tell_of_restart(Session& session, const Tried& tried, const Decision& decision) {
    log_warning("attempt {}: {}; starting again in {:.1f} s", session.board.status.attempt, decision.reason,
                decision.backoff_seconds);
    ++session.board.status.restarts;
    session.board.metrics().restarted(decision.cause, tried.mode ? tried.mode->undone_steps() : 0,
                                      tried.mode ? tried.mode->undone_tokens() : 0);
    session.board.set_state("restarting", decision.reason);
}

// False when somebody asked to leave in between.
bool back_off(Session& session, double seconds) {
    for (const double end = monotonic_seconds() + seconds; monotonic_seconds() < end;) {
        try {
            session.lease.renew();
        } catch (const IoError&) {  // the next attempt asks again
        }
        session.board.waiting();
        if (!session.requests.take("stop").empty()) return false;
        if (session.time_limit.is_up(monotonic_seconds(), 0)) return false;
        if (session.signals.wait(std::min(1.0, std::max(0.0, end - monotonic_seconds())))) return false;
    }
    return true;
}

// Somebody asked to leave before the next attempt: what was done since the last checkpoint is done again.
Outcome leave_between(Session& session, std::uint64_t undone_steps) {
    AttemptEnd end;
    end.interrupted = true;
    end.asked_to_leave = true;
    end.undone_steps = undone_steps;
    end.requeue =
        asks_for_requeue(session.signals.take().value_or(0)) || session.time_limit.is_up(monotonic_seconds(), 0);
    if (!end.requeue) stay_away(session, kExitRequeue);
    const Decision decision = decide_once(end);
    note_decision(session, decision, end, is_ours(session, end));
    return {decision, end};
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

void note_progress(Session& session) {
    if (session.last_moment != nullptr) session.last_moment->note_progress();
}

void stay_away(Session& session, int exit_code) {
    if (session.last_moment != nullptr) session.last_moment->stay_away(exit_code);
}

void answer_open_requests(RequestBox& requests, const std::string& reason, bool stopped) {
    const auto open = requests.open();
    for (const auto& [id, request] : open) {
        requests.answer(
            id, {.done = stopped && request.verb == "stop", .text = fmt::format("the run has ended: {}", reason)});
    }
}

// A run that ends well needs no explanation; what else is decided is told where people look.
void note_decision(Session& session, const Decision& decision, const AttemptEnd& end, bool in_journal) {
    session.board.metrics().decided(decision.rule);
    if (!end.hang.empty()) session.board.metrics().hang(end.place ? end.place->phase : "unknown");
    session.board.status.decision = fmt::format("{}: {}", decision.rule, decision.reason);
    if (in_journal) write_down(session, decision, end);
}

Outcome supervise(Session& session, const ModeMaker& make_mode) {
    PolicyState state = policy_state(read_journal(session.directory.journal()));
    state.excluded = session.excluded_hosts;
    std::uint64_t undone_steps = 0;
    for (;;) {
        if (session.extension) extend(session);
        Tried tried = try_once(session, make_mode);
        if (tried.end.finished && session.extension && !tried.end.asked_to_leave) {
            if (is_ours(session, tried.end)) note_end(session, tried.end, describe(tried.end));
            continue;
        }
        const Decision decision = judge(session, state, tried);
        if (decision.kind != Decision::Kind::restart) return {decision, tried.end};
        if (tried.mode) undone_steps = tried.mode->undone_steps();
        tell_of_restart(session, tried, decision);
        if (!back_off(session, decision.backoff_seconds)) return leave_between(session, undone_steps);
    }
}

}  // namespace kiban::coordinator
