// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "coordinator/job/anomaly.h"
#include "coordinator/launch/hosts.h"
#include "monitoring/error.h"
#include "monitoring/run_metrics.h"

namespace kiban::coordinator {
namespace {

constexpr std::uint32_t kFailedLoads = 2;  // of one checkpoint, after which an older one is taken
constexpr std::uint32_t kDiskEnds = 9;     // I/O errors in a row that end the run: two minutes of backoffs by default

bool would_end_the_same(int exit_code) {
    return exit_code == kExitUsage || exit_code == kExitData || exit_code == kExitConfiguration;
}

int code_of(const AttemptEnd& end) {
    return end.failure ? end.failure->exit_code : end.launcher_exit.value_or(kExitInternal);
}

// A disk that is full, a quota, a file server that stumbles: no rows, hosts or checkpoints are to blame, and it may
// pass.
bool is_io(const AttemptEnd& end) { return code_of(end) == kExitIo; }

std::string cause_of(const AttemptEnd& end) {
    if (end.failure && end.failure->type == NonFiniteError::kName) return monitoring::kNonFiniteCause;
    if (end.failure && end.failure->type == SpikeError::kName) return "spike";
    if (end.failure) return end.failed_rank < 0 ? "coordinator_failure" : "worker_failure";
    if (!end.missing.empty()) return "start_timeout";
    if (!end.lost.empty()) return "worker_lost";
    if (!end.hang.empty()) return "hang";
    return "launcher";
}

// Forward and backward are one place: in which of them another worker's end found this one is chance.
Signature signature_of(const AttemptEnd& end) {
    Signature signature{.cause = cause_of(end), .text = {}, .step = 0};
    if (end.failure) {
        signature.step = end.failure->step;
        signature.text = end.failure->type + ": " + end.failure->message;
    } else {
        signature.text = fmt::format("exit code {}", end.launcher_exit.value_or(-1));
    }
    if (end.place) {
        signature.step = end.place->step;
        signature.position = end.place->position;
        signature.text += " in " + (end.place->phase == "backward" ? "forward" : end.place->phase);
    }
    return signature;
}

// Where one of them does not know its rows, the step decides.
bool is_same(const Signature& before, const Signature& now) {
    if (before.cause != now.cause || before.text != now.text || before.step != now.step) return false;
    return !before.position || !now.position || before.position == now.position;
}

bool is_crash(const std::string& cause) { return cause == "launcher" || cause == "worker_lost" || cause == "hang"; }

bool reads_rows(const std::string& phase) {
    return std::ranges::count(std::array{"data", "forward", "backward", "reduce", "optimizer"}, phase) != 0;
}

std::string exit_text(int code) {
    return code > 128 ? fmt::format("exit code {} (signal {})", code, code - 128) : fmt::format("exit code {}", code);
}

struct Context {
    PolicyState& state;
    const PolicyEvent& event;
    const PolicyRules& rules;
    const Signature& signature;
    bool again;  // the end before was the same, and nothing durable was added in between
    Decision& decision;

    const AttemptEnd& end() const { return event.end; }
    bool stop(int exit_code, const std::string& why = {}) const {
        decision.kind = Decision::Kind::stop;
        decision.exit_code = exit_code;
        if (!why.empty()) decision.reason += "; " + why;
        return true;
    }
    bool restart(const std::string& why = {}) const {
        decision.kind = Decision::Kind::restart;
        if (!why.empty()) decision.reason += "; " + why;
        return true;
    }
};

// --- The rules: each says whether it decides; the first that does has the word ---

bool finished(const Context& c) {
    if (!c.end().finished || c.end().stopped) return false;
    c.decision.kind = Decision::Kind::done;
    return true;
}

bool requeue(const Context& c) {
    return (c.end().interrupted || (c.end().finished && c.end().stopped)) && c.stop(kExitRequeue);
}

bool refused(const Context& c) { return would_end_the_same(code_of(c.end())) && c.stop(code_of(c.end())); }

bool saves_failed(const Context& c) {
    return c.end().failure && c.end().failure->type == SavesFailedError::kName && c.stop(kExitIo);
}

bool disk_again(const Context& c) {
    if (c.state.disk_ends < kDiskEnds) return false;
    return c.stop(kExitIo, fmt::format("{} I/O errors in a row, with nothing durable in between", kDiskEnds));
}

// What is durable is there for the next start.
bool asked_to_leave(const Context& c) {
    if (!c.end().asked_to_leave) return false;
    c.decision.reason = fmt::format("stopped as requested, but not saved: {}", c.decision.reason);
    // Where the job starts again by itself, the disk may be well by then; it asks again as often as at any time.
    const bool disk = code_of(c.end()) == kExitIo && c.end().left_behind.empty() && !c.end().requeue;
    return c.stop(disk ? kExitIo : kExitRequeue);
}

bool rolled_back(const Context& c) {
    if (!c.end().failure || !is_anomaly(*c.end().failure)) return false;
    const std::uint64_t step = c.end().failure->step;
    auto& rollbacks = c.state.rollbacks;
    std::erase_if(rollbacks, [&](std::uint64_t at) { return at + c.rules.rollback_window_steps < step; });
    if (rollbacks.size() >= c.rules.max_rollbacks) {
        c.decision.rule = "rollbacks_spent";
        return c.stop(kExitNoProgress,
                      fmt::format("{} rollbacks within {} steps have not helped: a person must look at it",
                                  rollbacks.size(), c.rules.rollback_window_steps));
    }
    rollbacks.push_back(step);
    c.decision.roll_back = true;
    return c.restart("rolling back");
}

bool checkpoint_rejected(const Context& c) {
    if (c.state.failed_loads < kFailedLoads || !c.event.older_checkpoint) return false;
    c.state.failed_loads = 0;
    c.state.failed_starts = 0;  // the older one has not been tried
    c.decision.reject_checkpoint = true;
    return c.restart(
        fmt::format("{} attempts in a row ended while it was loaded: taking an older checkpoint", kFailedLoads));
}

// By its rows; of a place that does not know them, by its step.
bool is_quarantined(const PolicyState& state, const Place& place) {
    if (place.position) return state.quarantined.contains(*place.position);
    return std::ranges::any_of(state.quarantined, [&](const auto& rows) { return rows.second == place.step; });
}

// The same step and the same end twice: it is the rows, or else nothing helps.
bool rows_quarantined(const Context& c) {
    const auto& place = c.end().place;
    if (!c.again || !place || place->step == 0 || !place->position || !reads_rows(place->phase)) return false;
    if (c.rules.supervise.max_quarantines == 0 || is_quarantined(c.state, *place)) return false;
    if (c.state.quarantined.size() >= c.rules.supervise.max_quarantines) {
        c.decision.rule = "quarantines_spent";
        return c.stop(kExitNoProgress,
                      fmt::format("the rows of {} steps are left out already", c.state.quarantined.size()));
    }
    c.state.quarantined[*place->position] = place->step;
    c.decision.quarantine = *place;
    return c.restart(fmt::format("the same end at step {} twice: leaving out its rows", place->step));
}

bool same_again(const Context& c) {
    if (!c.again || c.signature.step == 0) return false;
    const bool poison = c.end().place && is_quarantined(c.state, *c.end().place);
    const bool invariant = c.end().failure && c.end().failure->exit_code == kExitInternal;
    if (poison) return c.stop(kExitNoProgress, "the same end at the same step, though its rows are left out");
    return invariant && c.stop(code_of(c.end()));
}

// False where the others have no room, and the run may not go on with fewer workers.
bool leave_out(const Context& c, const std::set<std::string>& hosts, const std::string& why) {
    const auto is_out = [&](const std::string& host) { return c.state.excluded.contains(short_host(host)); };
    if (std::ranges::all_of(hosts, is_out)) return false;  // it was left out, and that did not help
    std::set<std::string> out = c.state.excluded;
    for (const std::string& host : hosts) out.insert(short_host(host));
    const int workers = c.event.workers_without ? c.event.workers_without(out) : 0;
    if (workers == 0) return false;
    for (const std::string& host : hosts) {
        c.state.crashes.erase(short_host(host));
        c.decision.exclude_hosts.insert(short_host(host));
    }
    c.state.excluded = std::move(out);
    c.decision.workers = workers;
    return c.restart(fmt::format("{}: going on without it", why));
}

bool host_lost(const Context& c) {
    const auto& lost = c.end().lost_hosts;
    if (lost.empty() || c.rules.supervise.max_host_failures == 0) return false;
    const std::string named = fmt::format("host '{}' is lost", fmt::join(lost, "', '"));
    if (leave_out(c, lost, named)) return true;
    if (!c.event.may_requeue || !c.end().launcher_lost_hosts) return false;  // a silence may pass
    c.decision.rule = "no_room_left";
    c.decision.requeue = true;
    return c.stop(kExitRequeue, fmt::format("{}, and the others have no room: back into the queue", named));
}

bool host_excluded(const Context& c) {
    const std::string host = short_host(c.end().place ? c.end().place->host : "");
    const std::uint32_t most = c.rules.supervise.max_host_failures;
    if (most == 0 || host.empty() || c.state.crashes[host] < most) return false;
    return leave_out(c, {host}, fmt::format("{} crashes on host '{}'", most, host));
}

bool no_progress(const Context& c) {
    const std::uint32_t most = c.rules.supervise.max_failed_starts;
    if (c.state.failed_starts < most) return false;
    return c.stop(kExitNoProgress, fmt::format("{} attempts in a row ended before they had done anything", most));
}

bool budget_spent(const Context& c) {
    if (c.state.fruitless.size() <= c.rules.max_restarts) return false;
    return c.stop(is_io(c.end()) ? kExitIo : kExitNoProgress,
                  fmt::format("{} restarts without anything durable in between", c.rules.max_restarts));
}

bool restart(const Context& c) { return c.restart(); }

struct Rule {
    const char* name;
    bool (*decides)(const Context&);
};
constexpr std::array<Rule, 15> kTable = {{{"finished", finished},
                                          {"requeue", requeue},
                                          {"refused", refused},
                                          {"saves_failed", saves_failed},
                                          {"disk_again", disk_again},
                                          {"asked_to_leave", asked_to_leave},
                                          {"rolled_back", rolled_back},
                                          {"budget_spent", budget_spent},
                                          {"host_lost", host_lost},
                                          {"checkpoint_rejected", checkpoint_rejected},
                                          {"no_progress", no_progress},
                                          {"rows_quarantined", rows_quarantined},
                                          {"same_again", same_again},
                                          {"host_excluded", host_excluded},
                                          {"restart", restart}}};

// What the end adds to the state, whatever is decided.
void note(PolicyState& state, const PolicyEvent& event, const PolicyRules& rules, const Signature& signature) {
    const AttemptEnd& end = event.end;
    if (event.progress) {
        state.fruitless.clear();
        state.last.reset();
    }
    const double window = rules.supervise.restart_window_hours * 3600;
    std::erase_if(state.fruitless, [&](double at) { return event.now - at > window; });
    state.fruitless.push_back(event.now);
    const bool io = is_io(end);
    if (event.progress || !io) state.disk_ends = 0;
    state.disk_ends += io ? 1 : 0;
    if (event.progress || end.began) {
        state.failed_starts = 0;
    } else if (!io) {
        ++state.failed_starts;
    }
    const bool loading = !end.began && end.place && end.place->phase == "loading" && is_crash(signature.cause);
    state.failed_loads = loading ? state.failed_loads + 1 : 0;
    if (is_crash(signature.cause) && end.place && !end.place->host.empty())
        ++state.crashes[short_host(end.place->host)];
}

double backoff(const PolicyState& state, const PolicyEvent& event, const SuperviseConfig& rules) {
    const int doublings = std::min(static_cast<int>(state.fruitless.size()) - 1, 32);
    const double seconds = std::min(rules.max_backoff_seconds, std::ldexp(rules.backoff_seconds, doublings));
    return seconds * (1 + 0.25 * event.jitter);
}

}  // namespace

bool is_anomaly(const Failure& failure) {
    return failure.type == NonFiniteError::kName || failure.type == SpikeError::kName;
}

namespace {

std::string describe_stop(const AttemptEnd& end) {
    if (end.undone_steps == 0) return "stopped as requested, with nothing to save";
    return fmt::format("stopped as requested; {} steps since the last checkpoint are to be done again",
                       end.undone_steps);
}

std::string describe_end(const AttemptEnd& end) {
    if (end.finished) return end.stopped ? "saved and stopped as requested" : "finished";
    if (end.interrupted) return describe_stop(end);
    if (end.failure && end.failed_rank < 0)
        return fmt::format("the coordinator failed: {}: {}", end.failure->type, end.failure->message);
    if (end.failure) {
        return fmt::format("worker {} failed at step {}: {}: {}", end.failed_rank, end.failure->step, end.failure->type,
                           end.failure->message);
    }
    if (!end.missing.empty()) return fmt::format("worker {} did not start in time", fmt::join(end.missing, ", "));
    if (!end.lost.empty()) {
        return fmt::format("worker {} fell silent{}", fmt::join(end.lost, ", "),
                           end.hang.empty() ? "" : "; " + end.hang);
    }
    if (!end.hang.empty()) return end.hang;
    std::string text = fmt::format("the workers ended with {}", exit_text(end.launcher_exit.value_or(-1)));
    if (end.place && end.place->rank >= 0) {
        text += fmt::format(", worker {} first, in phase '{}' of step {}{}", end.place->rank, end.place->phase,
                            end.place->step, end.place->host.empty() ? "" : fmt::format(" on '{}'", end.place->host));
    }
    if (!end.launcher_errors.empty()) text += fmt::format("; the launcher's last words:\n{}", end.launcher_errors);
    return text;
}

}  // namespace

std::string describe(const AttemptEnd& end) {
    const std::string text = describe_end(end);
    return end.left_behind.empty() ? text : fmt::format("{}; {} had not ended", text, end.left_behind);
}

Transition decide(PolicyState state, const PolicyEvent& event, const PolicyRules& rules) {
    const Signature signature = signature_of(event.end);
    note(state, event, rules, signature);
    const bool again = state.last && is_same(*state.last, signature) && !is_io(event.end);
    Decision decision{.kind = Decision::Kind::stop, .reason = describe(event.end), .cause = signature.cause};
    const Context context{
        .state = state, .event = event, .rules = rules, .signature = signature, .again = again, .decision = decision};
    for (const Rule& rule : kTable) {
        if (!rule.decides(context)) continue;
        if (decision.rule.empty()) decision.rule = rule.name;
        break;
    }
    if (!is_io(event.end)) state.last = signature;
    if (decision.kind == Decision::Kind::restart) decision.backoff_seconds = backoff(state, event, rules.supervise);
    return {.decision = decision, .state = std::move(state)};
}

Decision decide_once(const AttemptEnd& end) {
    PolicyRules never;
    never.max_restarts = 0;
    never.max_rollbacks = 0;
    return decide({}, {.end = end}, never).decision;
}

}  // namespace kiban::coordinator
