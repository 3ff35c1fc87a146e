// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/attempt.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <utility>

#include "coordinator/launch/first_death.h"
#include "coordinator/launch/hosts.h"
#include "coordinator/protocol/wire.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

using monitoring::log_info;
using monitoring::log_warning;

constexpr double kTickSeconds = 1;
constexpr double kAfterFailureSeconds = 5;  // for the workers to leave by themselves
constexpr double kAfterFinishSeconds = 30;  // for MPI to finalize
constexpr double kGraceSeconds = 5;         // between TERM and KILL
constexpr double kLastGraceSeconds = 0.5;   // the same, where the time of the job is up
constexpr int kLinesWithDeath = 40;         // of the launcher's last words, among which one names who died first
constexpr double kPauseSeconds = 3;         // of this process, which it notices
constexpr double kStacksSeconds = 3;        // for the workers to show their stacks
constexpr std::size_t kLongestStacks = 1 << 18;
constexpr double kLateMessagesSeconds = 0.3;  // what was sent just before the end may still be under way

StepPlan plan_of(const AttemptSetup& setup) {
    const LauncherKind launcher = choose_launcher(setup.launch.launcher, current_environment());
    return {.launcher = launcher,
            .workers = setup.launch.workers,
            .threads_per_worker = setup.launch.threads_per_worker,
            .kiban = this_executable(),
            .run_dir = setup.run_dir,
            .attempt = setup.attempt,
            .as_root = ::geteuid() == 0,
            .excluded_hosts = setup.excluded_hosts,
            .room = room_on_hosts(launcher, current_environment(), setup.launch.threads_per_worker)};
}

CoordinatorChannelOptions channel_of(const AttemptSetup& setup) {
    return {.run_dir = setup.run_dir,
            .run_id = setup.run_id,
            .attempt = setup.attempt,
            .workers = setup.launch.workers,
            .control_interface = setup.launch.control_interface,
            .heartbeat_timeout_seconds = static_cast<double>(setup.launch.heartbeat_timeout_seconds)};
}

// A worker's heartbeats come from a thread of their own: one that is silent does not work.
double silence_limit(const AttemptSetup& setup) {
    const double timeout = setup.launch.heartbeat_timeout_seconds;
    return setup.supervise.hang_seconds > 0 ? std::min(timeout, setup.supervise.hang_seconds) : timeout;
}

std::string this_host() {
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    return host.data();
}

}  // namespace

Attempt::Attempt(AttemptSetup setup, AttemptMode& mode, StopSignals& signals)
    : setup_(std::move(setup)),
      mode_(mode),
      signals_(signals),
      membership_(setup_.launch.workers, monotonic_seconds(), setup_.launch.start_timeout_seconds,
                  silence_limit(setup_)),
      watch_(setup_.supervise, setup_.launch.workers, monotonic_seconds()),
      stragglers_(setup_.supervise.straggler_ratio, setup_.launch.workers),
      pace_(setup_.pace != nullptr ? *setup_.pace : own_pace_),
      channel_(channel_of(setup_)),
      step_(launch_arguments(plan_of(setup_)), launcher_environment(is_loopback(setup_.launch.control_interface)),
            setup_.log_dir) {}

AttemptEnd Attempt::run() {
    try {
        return run_to_end();
    } catch (const CommError&) {  // the run is another's, who waits for this
        end_for_another();
        throw;
    }
}

AttemptEnd Attempt::run_to_end() {
    survive_io([this] {
        while (!step_.exit_code() && end_.left_behind.empty()) look_around();
        hear_late_messages();
    });
    confirm_end();
    end_.launcher_exit = step_.exit_code();
    end_.finished = membership_.all_finished() && !end_.failure;
    survive_io([this] { look_back(); });
    survive_io([this] {
        if (setup_.over) setup_.over(membership_);
    });
    survive_io([this] { mode_.ended(); });
    end_.began = mode_.began();
    return end_;
}

void Attempt::look_around() {
    std::array<pollfd, 4> items = {{{channel_.descriptor(), POLLIN, 0},
                                    {signals_.descriptor(), POLLIN, 0},
                                    {step_.descriptor(), POLLIN, 0},
                                    {end_.failure ? -1 : mode_.descriptor(), POLLIN, 0}}};
    const double wait = std::clamp(next_tick_ - monotonic_seconds(), 0.0, kTickSeconds);
    ::poll(items.data(), items.size(), static_cast<int>(wait * 1000) + 1);
    setup_.keep_lease();
    handle_messages();
    if ((items[3].revents & POLLIN) != 0) tell_mode(0, [this] { mode_.on_ready(channel_); });
    handle_signals();
    handle_clock();
}

void Attempt::hear_late_messages() {
    for (const double late = monotonic_seconds() + kLateMessagesSeconds;
         monotonic_seconds() < late && !membership_.all_finished() && end_.left_behind.empty();) {
        pollfd item{channel_.descriptor(), POLLIN, 0};
        ::poll(&item, 1, 50);
        handle_messages();
    }
}

void Attempt::look_back() {
    if (end_.finished && end_.launcher_exit.value_or(0) != 0) {
        log_warning("the workers have finished, but the launcher ended with exit code {}: {}", *end_.launcher_exit,
                    step_.last_error_lines(3));
    }
    if (end_.finished) return;
    end_.launcher_errors = step_.last_error_lines(12);
    if (!end_.place) end_.place = place_of_end();
    note_lost_hosts();
}

void Attempt::handle_messages() {
    for (const Arrival& arrival : channel_.take()) handle(arrival);
}

void Attempt::handle(const Arrival& arrival) {
    membership_.heard(arrival.rank, arrival.at_seconds);
    if (const auto* hello = std::get_if<Hello>(&arrival.message)) {
        on_hello(*hello, arrival.at_seconds);
    } else if (const auto* heartbeat = std::get_if<Heartbeat>(&arrival.message)) {
        membership_.heartbeat(arrival.rank, *heartbeat, arrival.at_seconds);
        watch_.heartbeat(arrival.rank, *heartbeat, arrival.at_seconds);
        stragglers_.heartbeat(arrival.rank, *heartbeat, arrival.at_seconds);
        membership_.set_own_seconds(arrival.rank, stragglers_.own_seconds(arrival.rank),
                                    stragglers_.is_straggler(arrival.rank));
    } else if (const auto* stacks = std::get_if<Stacks>(&arrival.message)) {
        on_stacks(arrival.rank, *stacks);
    } else if (const auto* failure = std::get_if<Failure>(&arrival.message)) {
        on_failure(arrival.rank, *failure);
    } else if (const auto* finished = std::get_if<Finished>(&arrival.message)) {
        membership_.finished(arrival.rank);
        end_.stopped = end_.stopped || finished->stopped;
        if (arrival.rank == 0) end_.output = finished->output;
        if (membership_.all_finished()) deadline_ = monotonic_seconds() + kAfterFinishSeconds;
    } else if (!end_.failure) {  // what the others say after a failure changes nothing any more
        if (const auto* step = std::get_if<StepReport>(&arrival.message)) {
            pace_.add(*step);
            watch_.step_done();
        }
        tell_mode(arrival.rank, [&] { mode_.on_message(channel_, arrival.rank, arrival.message); });
    }
}

// What the coordinator cannot do with a message (a full disk, a step that was lost on the way) ends the attempt; the
// next one goes on from what is durable.
void Attempt::tell_mode(int rank, const std::function<void()>& tell) {
    try {
        tell();
    } catch (const Error& error) {
        if (!mode_.survives_errors()) throw;
        on_failure(rank, {.type = error.type_name(),
                          .message = fmt::format("the coordinator, at its message: {}", error.what()),
                          .step = 0,
                          .exit_code = error.exit_code()});
        end_step(kGraceSeconds);
    }
}

void Attempt::on_hello(const Hello& hello, double at) {
    try {
        membership_.hello(hello, at);
    } catch (const ConfigError& error) {
        on_failure(hello.rank,
                   {.type = error.type_name(), .message = error.what(), .step = 0, .exit_code = error.exit_code()});
        return;
    }
    if (hello.host == this_host()) {
        if (const auto process = find_process(hello.pid, "kiban-worker")) local_workers_.push_back(*process);
    }
    log_info("worker {} of {} is in: process {} on {}, {} BLAS kernels, {} threads", hello.rank, hello.world_size,
             hello.pid, hello.host, hello.kernels, hello.threads);
    if (!joined_ && membership_.all_joined()) {
        joined_ = true;
        mode_.joined(channel_);
        next_tick_ = 0;  // who is in is shown at once
    }
}

void Attempt::on_failure(int rank, const Failure& failure) {
    if (end_.failure) return;
    end_.failure = failure;
    end_.failed_rank = rank;
    deadline_ = monotonic_seconds() + kAfterFailureSeconds;
}

void Attempt::handle_signals() {
    for (auto signal = signals_.take(); signal; signal = signals_.take())
        ask_to_stop(fmt::format("signal {}", ::sigabbrev_np(*signal)), asks_for_requeue(*signal));
}

// The first one counts; another one changes nothing.
void Attempt::ask_to_stop(const std::string& reason, bool requeue) {
    if (std::exchange(end_.asked_to_leave, true)) return;
    end_.requeue = requeue;
    if (!requeue && setup_.on_stop_for_good) setup_.on_stop_for_good();
    if (mode_.request_stop(channel_, reason)) {
        log_info("{}: saving at the next step, then leaving", reason);
    } else {
        log_info("{}: leaving", reason);
        end_.interrupted = true;
        end_step(kGraceSeconds);
    }
}

// After a failure they wait for the next attempt. Whatever comes of one, the run goes on.
void Attempt::handle_requests() {
    if (setup_.requests == nullptr || end_.failure) return;
    for (const Request& request : setup_.requests->take()) {
        log_info("kiban {}, asked by {}", request.verb, request.by);
        if (request.verb == "stop") {
            ask_to_stop(fmt::format("kiban stop by {}", request.by), /*requeue=*/false);
            continue;
        }
        try {
            mode_.on_request(channel_, request);
        } catch (const Error& error) {
            if (setup_.requests->open().contains(request.id))
                setup_.requests->answer(request.id, {.done = false, .text = error.what()});
        }
    }
}

void Attempt::handle_clock() {
    const double now = monotonic_seconds();
    if (deadline_ > 0 && now > deadline_) {
        end_step(kGraceSeconds);
        return;  // its processes are gone: another look would find them silent
    }
    if (now < next_tick_) return;
    next_tick_ = now + kTickSeconds;
    excuse_pause(now);
    handle_requests();
    if (!end_.asked_to_leave && setup_.time_limit.is_up(now, mode_.seconds_to_leave())) {
        ask_to_stop(fmt::format("{:.0f} s are left of the time limit", setup_.time_limit.seconds_left(now)),
                    /*requeue=*/true);
    }
    if (end_.asked_to_leave && setup_.time_limit.is_over(now)) {
        log_warning("the time is up before everything is saved: leaving with what is durable");
        end_step(kLastGraceSeconds);
        return;
    }
    if (!end_.failure && deadline_ == 0) look_for_silence(now);
    setup_.tick(membership_);
    mode_.each_second();
}

// Stopped, or on a machine that slept: what the clock says then is not the workers' fault.
void Attempt::excuse_pause(double now) {
    const double pause = last_look_ > 0 ? now - last_look_ - kTickSeconds : 0;
    last_look_ = now;
    if (pause < kPauseSeconds) return;
    log_warning("this coordinator did not run for {:.1f} s", pause);
    membership_.excuse(pause);
    watch_.excuse(pause);
}

void Attempt::look_for_silence(double now) {
    end_.missing = membership_.missing(now);
    end_.lost = membership_.lost(now);
    if (!end_.lost.empty()) {
        const Member& member = membership_.members()[static_cast<std::size_t>(end_.lost.front())];
        on_hang(describe_hang(membership_.members(), now - member.last_heard, now));
    } else if (!end_.missing.empty()) {
        end_step(kGraceSeconds);
    } else if (const auto hang = watch_.look(membership_.members(), pace_, now)) {
        on_hang(*hang);
    }
}

// Who can still speak shows where its threads are; then the whole step ends.
void Attempt::on_hang(const Hang& hang) {
    end_.hang = hang.text;
    suspect_ = hang.suspect;
    end_.lost_hosts = membership_.silent_hosts(monotonic_seconds());
    log_warning("{}; ending the step", hang.text);
    for (const ProcessId& worker : local_workers_) {
        const std::string state = process_state(worker);
        if (state != "running" && state != "sleeping")
            end_.hang += fmt::format("; process {} is {}", worker.pid, state);
    }
    end_.place = place_of_end();  // before the launcher lets stopped processes go on, so that it can end them
    stacks_missing_ = setup_.launch.workers - static_cast<int>(end_.lost.size());
    channel_.send_to_all(ShowStacks{});
    deadline_ = monotonic_seconds() + kStacksSeconds;
}

void Attempt::on_stacks(int rank, const Stacks& stacks) {
    if (end_.hang.empty()) return;  // nobody asked
    try {
        monitoring::File file = monitoring::File::open_append(setup_.log_dir / "stacks.txt");
        const std::string text =
            fmt::format("worker {}\n{}\n", rank, stacks.text.substr(0, std::min(stacks.text.size(), kLongestStacks)));
        file.append(std::as_bytes(std::span(text)));
    } catch (const IoError& error) {
        log_warning("the stacks of worker {} are not kept: {}", rank, error.what());
    }
    if (--stacks_missing_ == 0) deadline_ = monotonic_seconds();
}

// What the worker that ended the attempt was doing: as it wrote down itself, or as it said last.
std::optional<Place> Attempt::place_of_end() const {
    Place place;
    if (end_.failure) {
        place.rank = end_.failed_rank;
    } else if (!end_.hang.empty()) {
        place.rank = end_.lost.empty() ? suspect_ : end_.lost.front();
    } else if (const auto death = first_death(step_.last_error_lines(kLinesWithDeath))) {
        place.rank = death->rank;
        place.host = death->host;
    }
    const int looked_at = std::max(place.rank, 0);  // no one named: they are all in the same step
    if (looked_at >= setup_.launch.workers) return std::nullopt;
    const Member& member = membership_.members()[static_cast<std::size_t>(looked_at)];
    auto there = place_of_worker(member, read_whereabouts(whereabouts_file(setup_.log_dir, looked_at)));
    if (!there) return std::nullopt;
    there->rank = place.rank;
    if (place.rank < 0 || !member.hello) there->host = place.host;
    return there;
}

// This one is none of them: the coordinator lives here.
void Attempt::note_lost_hosts() {
    std::set<std::string> failed = failed_hosts(step_.last_error_lines(kLinesWithDeath));
    end_.launcher_lost_hosts = !failed.empty();
    end_.lost_hosts.merge(failed);
    std::erase_if(end_.lost_hosts,
                  [here = short_host(this_host())](const std::string& host) { return short_host(host) == here; });
}

std::optional<Place> place_of_worker(const Member& member, const std::optional<Whereabouts>& written) {
    const bool written_is_later = written && written->step >= member.heartbeat.step;
    if (!written_is_later && !member.hello) return std::nullopt;
    Place place;
    if (member.hello) place.host = member.hello->host;
    place.phase = written_is_later ? written->phase : member.heartbeat.phase;
    place.step = written_is_later ? written->step : member.heartbeat.step;
    if (written_is_later) place.position = written->position;
    return place;
}

}  // namespace kiban::coordinator
