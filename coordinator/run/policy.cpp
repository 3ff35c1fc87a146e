// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "monitoring/error.h"
#include "monitoring/run_metrics.h"

namespace kiban::coordinator {
namespace {

constexpr double kFirstBackoffSeconds = 0.5;
constexpr double kLongestBackoffSeconds = 30;

bool would_end_the_same(int exit_code) {
    return exit_code == kExitUsage || exit_code == kExitData || exit_code == kExitConfiguration;
}

std::string cause_of(const AttemptEnd& end) {
    if (end.failure && end.failure->type == NonFiniteError::kName) return monitoring::kNonFiniteCause;
    if (end.failure) return "worker_failure";
    if (!end.missing.empty()) return "start_timeout";
    if (!end.lost.empty()) return "worker_lost";
    return "launcher";
}

// The same check fails at the same step twice, or the disk is full twice: it is the run or the machine, and a third try
// would end the same way.
bool repeats(const AttemptEnd& end, const AttemptHistory& history) {
    if (!end.failure || !history.previous_failure) return false;
    const Failure& now = *end.failure;
    const Failure& before = *history.previous_failure;
    if (now.type != before.type || now.step != before.step) return false;
    return now.exit_code == kExitIo || (now.exit_code == kExitInternal && now.message == before.message);
}

std::string exit_text(int code) {
    return code > 128 ? fmt::format("exit code {} (signal {})", code, code - 128) : fmt::format("exit code {}", code);
}

}  // namespace

std::string describe(const AttemptEnd& end) {
    if (end.finished) return end.stopped ? "saved and stopped as requested" : "finished";
    if (end.interrupted) return "stopped as requested, with nothing to save";
    if (end.failure) {
        return fmt::format("worker {} failed at step {}: {}: {}", end.failed_rank, end.failure->step, end.failure->type,
                           end.failure->message);
    }
    if (!end.missing.empty()) return fmt::format("worker {} did not start in time", fmt::join(end.missing, ", "));
    if (!end.lost.empty()) return fmt::format("worker {} fell silent", fmt::join(end.lost, ", "));
    std::string text = fmt::format("the workers ended with {}", exit_text(end.launcher_exit.value_or(-1)));
    if (!end.launcher_errors.empty()) text += fmt::format("; the launcher's last words:\n{}", end.launcher_errors);
    return text;
}

Decision decide(const AttemptEnd& end, const AttemptHistory& history, std::uint32_t max_restarts) {
    using Kind = Decision::Kind;
    Decision decision{.kind = Kind::stop, .reason = describe(end), .cause = cause_of(end)};
    if (end.interrupted || (end.finished && end.stopped)) {
        decision.exit_code = kExitRequeue;
        return decision;
    }
    if (end.finished) {
        decision.kind = Kind::done;
        return decision;
    }
    const int code = end.failure ? end.failure->exit_code : end.launcher_exit.value_or(kExitInternal);
    const bool gives_up = end.failure && end.failure->type == SavesFailedError::kName;  // tried often enough
    if (gives_up || would_end_the_same(code) || repeats(end, history)) {
        decision.exit_code = code;
        return decision;
    }
    if (end.asked_to_leave) {  // asked to leave: what is durable is there for the next start
        decision.exit_code = code == kExitIo ? code : kExitRequeue;
        decision.reason = fmt::format("stopped as requested, but not saved: {}", decision.reason);
        return decision;
    }
    if (history.ends_without_progress > max_restarts) {
        decision.exit_code = kExitNoProgress;
        decision.reason =
            fmt::format("{}; {} restarts without anything durable in between", decision.reason, max_restarts);
        return decision;
    }
    decision.kind = Kind::restart;
    const int doublings = static_cast<int>(std::max(history.ends_without_progress, 1u)) - 1;
    decision.backoff_seconds =
        std::min(kLongestBackoffSeconds, std::ldexp(kFirstBackoffSeconds, std::min(doublings, 16)));
    return decision;
}

}  // namespace kiban::coordinator
