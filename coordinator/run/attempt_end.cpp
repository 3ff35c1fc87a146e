// SPDX-License-Identifier: Apache-2.0
// How the processes of an attempt are ended and waited for, and what is an end though no worker failed.
#include <chrono>
#include <csignal>
#include <thread>
#include <utility>

#include "coordinator/protocol/wire.h"
#include "coordinator/run/attempt.h"
#include "monitoring/error.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

using monitoring::log_warning;

constexpr double kGraceSeconds = 5;      // between TERM and KILL, and for workers to follow their launcher
constexpr double kSlowEndSeconds = 10;   // a wait that is longer is told of
constexpr double kLeastWaitSeconds = 1;  // however little time is left
constexpr auto kLook = std::chrono::milliseconds(20);

}  // namespace

// What the disk refuses the coordinator ends the attempt, not the run, where another one can go on.
void Attempt::survive_io(const std::function<void()>& part) {
    try {
        part();
    } catch (const IoError& error) {
        if (!mode_.survives_io()) throw;
        log_warning("the coordinator: {}", error.what());
        if (end_.finished) return;  // all that counts is durable
        on_failure(-1, {.type = error.type_name(), .message = error.what(), .step = 0, .exit_code = error.exit_code()});
    }
}

void Attempt::end_step(double grace_seconds) {
    deadline_ = 0;
    const ProcessId launcher = find_process(step_.pid()).value_or(ProcessId{step_.pid(), 0});
    const double since = monotonic_seconds();
    if (!step_.stop(grace_seconds, [&] { return may_wait_for(launcher, since); })) leave_behind(launcher);
}

// The launcher is gone, and its ranks must be, too, before another attempt may write.
void Attempt::confirm_end() {
    if (!step_.exit_code() && end_.left_behind.empty()) end_step(kGraceSeconds);
    const double since = monotonic_seconds();
    for (const ProcessId& worker : local_workers_) {
        while (end_.left_behind.empty() && is_alive(worker)) {
            if (monotonic_seconds() > since + kGraceSeconds) ::kill(worker.pid, SIGKILL);
            std::this_thread::sleep_for(kLook);
            if (!may_wait_for(worker, since)) leave_behind(worker);
        }
    }
}

// Not longer than the other one waits; what has not ended then can publish nothing.
void Attempt::end_for_another() {
    const double until = monotonic_seconds() + 2 * kGraceSeconds;
    const auto in_time = [until] { return monotonic_seconds() < until; };
    step_.stop(kGraceSeconds, in_time);
    for (const ProcessId& worker : local_workers_) {
        while (is_alive(worker) && in_time()) {
            ::kill(worker.pid, SIGKILL);
            std::this_thread::sleep_for(kLook);
        }
    }
}

// While a process ends that nobody can hurry, the run stays ours, a long wait is told of, and the clock is heard.
bool Attempt::may_wait_for(const ProcessId& process, double since) {
    try {
        setup_.keep_lease();
    } catch (const IoError&) {  // who writes next hears of it
    }
    const double now = monotonic_seconds();
    if (now > since + kSlowEndSeconds && std::exchange(told_of_, process.pid) != process.pid) {
        log_warning(
            "process {} has not ended for {:.0f} s: it is {}; nothing is started before it is gone, since it could "
            "still write",
            process.pid, now - since, process_state(process));
    }
    return now < since + kLeastWaitSeconds || !setup_.time_limit.is_over(now);
}

// The job ends with it.
void Attempt::leave_behind(const ProcessId& process) {
    end_.left_behind = fmt::format("process {} ({})", process.pid, process_state(process));
    log_warning("the time is up, and {} has not ended: leaving without it", end_.left_behind);
    if (!std::exchange(end_.asked_to_leave, true)) end_.requeue = true;
}

}  // namespace kiban::coordinator
