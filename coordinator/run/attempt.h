// SPDX-License-Identifier: Apache-2.0
// One attempt: starts the MPI step, hears every worker, lets a mode (train, prepare, generate) decide, ends the step
// and waits until it is really gone.
//
// The loop blocks in poll() on messages, signals and the end of the launcher; once a second it looks at the clock. One
// thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/job/train_config.h"
#include "coordinator/launch/launcher.h"
#include "coordinator/launch/process_id.h"
#include "coordinator/protocol/coordinator_channel.h"
#include "coordinator/protocol/whereabouts.h"
#include "coordinator/run/membership.h"
#include "coordinator/run/policy.h"
#include "coordinator/run/progress_watch.h"
#include "coordinator/run/requests.h"
#include "coordinator/run/stop_signals.h"
#include "coordinator/run/time_limit.h"

namespace kiban::coordinator {

/// What the workers of an attempt do. An Error thrown by on_message or on_ready ends the attempt, as a worker's failure
/// does, where the mode can be taken up again after it, and so does an IoError of any function; else it ends the run.
class AttemptMode {
  public:
    virtual ~AttemptMode() = default;

    /// Every worker is in: send them the job.
    virtual void joined(CoordinatorChannel& channel) = 0;
    /// All messages besides Hello, Heartbeat, Failure and Finished.
    virtual void on_message(CoordinatorChannel& channel, int rank, const WorkerMessage& message) = 0;
    /// A descriptor that becomes readable when on_ready() has something to do; -1: none.
    virtual int descriptor() const { return -1; }
    virtual void on_ready(CoordinatorChannel& /*channel*/) {}
    /// A stop was asked for: true when the workers were told and will finish by themselves, false when there is nothing
    /// to save.
    virtual bool request_stop(CoordinatorChannel& channel, const std::string& reason) = 0;
    /// Whether another attempt can go on after on_message threw.
    virtual bool survives_errors() const { return false; }
    /// Whether one can after an IoError, the mode's or the attempt's own.
    virtual bool survives_io() const { return survives_errors(); }
    /// Grows whenever something durable is added: restarts in between are progress.
    virtual std::uint64_t progress() const = 0;
    /// What an operator asks for, besides a stop; the mode answers it, at once or later. An Error is the answer.
    virtual void on_request(CoordinatorChannel& /*channel*/, const Request& /*request*/) {}
    /// What a stop would take from now to its end.
    virtual double seconds_to_leave() const { return 0; }
    /// Steps done since the last durable state: a restart does them again.
    virtual std::uint64_t undone_steps() const { return 0; }
    virtual std::uint64_t undone_tokens() const { return 0; }  // of those steps
    /// Whether this attempt has done something: a step, a task.
    virtual bool began() const { return false; }
    /// Whether there is a checkpoint before the one that was loaded.
    virtual bool has_older_checkpoint() const { return false; }
    /// What a decision asks for besides another attempt: rows left out, a checkpoint rejected, a rollback.
    virtual void before_restart(const Decision& /*decision*/) {}
    /// After each tick.
    virtual void each_second() {}
    /// The attempt is over, however it ended.
    virtual void ended() {}
};

struct AttemptSetup {
    std::filesystem::path run_dir;  // where the control channel's files go
    std::filesystem::path log_dir;
    std::string run_id;
    std::uint32_t attempt = 0;
    LaunchConfig launch;                               // resolved
    std::function<void()> keep_lease;                  // often, before anything is written; throws when it is lost
    std::function<void(const Membership&)> tick;       // about once a second
    std::function<void(const Membership&)> over = {};  // once, when all processes of the attempt are gone
    RequestBox* requests = nullptr;                    // of the operators; none: nobody can ask
    TimeLimit time_limit = {};
    std::set<std::string> excluded_hosts = {};
    SuperviseConfig supervise = {};
    StepPace* pace = nullptr;                     // of the attempts before, too; none: its own
    std::function<void()> on_stop_for_good = {};  // a stop was asked for, after which the job does not go back
};

/// Where a worker was: as it wrote down itself, or as it said last where that is later (its file may be unwritable, or
/// not be seen from here). nullopt: nobody knows.
std::optional<Place> place_of_worker(const Member& member, const std::optional<Whereabouts>& written);

class Attempt {
  public:
    Attempt(AttemptSetup setup, AttemptMode& mode, StopSignals& signals);
    AttemptEnd run();

  private:
    void look_around();
    void hear_late_messages();
    void look_back();
    void survive_io(const std::function<void()>& part);
    void handle_messages();
    void handle(const Arrival& arrival);
    void tell_mode(int rank, const std::function<void()>& tell);
    void on_hello(const Hello& hello, double at);
    void on_failure(int rank, const Failure& failure);
    void handle_signals();
    void handle_requests();
    void ask_to_stop(const std::string& reason, bool requeue);
    void handle_clock();
    void excuse_pause(double now);
    void look_for_silence(double now);
    void on_hang(const Hang& hang);
    void on_stacks(int rank, const Stacks& stacks);
    void end_step(double grace_seconds);
    AttemptEnd run_to_end();
    void confirm_end();
    void end_for_another();
    bool may_wait_for(const ProcessId& process, double since);
    void leave_behind(const ProcessId& process);
    std::optional<Place> place_of_end() const;
    void note_lost_hosts();

    AttemptSetup setup_;
    AttemptMode& mode_;
    StopSignals& signals_;
    Membership membership_;
    ProgressWatch watch_;
    Stragglers stragglers_;
    StepPace own_pace_;
    StepPace& pace_;
    CoordinatorChannel channel_;
    StepProcess step_;
    std::vector<ProcessId> local_workers_;
    AttemptEnd end_;
    bool joined_ = false;
    double next_tick_ = 0;
    double last_look_ = 0;    // at the clock
    int suspect_ = -1;        // of a hang
    int stacks_missing_ = 0;  // of a hang: workers that have not shown theirs
    double deadline_ = 0;     // monotonic; when passed the step is ended; 0: none
    int told_of_ = 0;         // process whose end takes long
};

}  // namespace kiban::coordinator
