// SPDX-License-Identifier: Apache-2.0
// The training thread's view of the control channel: says where it is, waits for answers, remembers a Stop, an
// interval and a wish for a save until the step is over.
//
// Errors: CommError when the coordinator is lost (nothing may be written then), InternalError for an answer that nobody
// asked for.
#pragma once

#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "coordinator/protocol/whereabouts.h"
#include "coordinator/protocol/worker_channel.h"
#include "monitoring/error.h"

namespace kiban::worker {

class Control {
  public:
    /// `channel` must outlive it.
    explicit Control(coordinator::WorkerChannel& channel);

    /// From now on heartbeats say `phase` and `step`; the time since the last call counts for the phase before.
    /// CommError when the coordinator is lost.
    void enter(const char* phase, std::uint64_t step);
    /// From now on phase, step and position are written there too, for the coordinator to read when this process is
    /// gone.
    void keep_whereabouts(const std::filesystem::path& file);
    /// Where the rows of the step that is entered next begin.
    void set_position(std::uint64_t position);
    /// The same for a pass of a micro-batch of this step, "forward" or "backward", which is also work. That the
    /// coordinator is lost is no matter here: exchanges are under way that an unwinding stack would wait for, and the
    /// others may not come to them any more.
    void begin_pass(const char* phase);
    /// A piece of a long phase begins: heartbeats show that this worker moves.
    void note_work();
    /// Seconds per phase since the last call.
    std::map<std::string, double> take_phase_seconds();
    /// Forgets the seconds of all phases but one, which go into what is taken next.
    void keep_seconds_of(const std::string& phase);
    std::uint64_t step() const { return step_; }
    void set_optimizer_bytes(std::uint64_t bytes) { optimizer_bytes_ = bytes; }

    void send(const coordinator::WorkerMessage& message) { channel_.send(message); }
    /// Whether one more step is to be recorded, as of the last stop_requested(): once for each that was asked for.
    bool takes_trace_step();
    /// From here on what this worker does is recorded, or no more: then the coordinator gets what there is.
    void record(bool on, std::size_t most_spans);
    /// Whether a Stop has arrived. Does not wait.
    bool stop_requested();
    /// Steps between checkpoints that the coordinator chose last, as of the last stop_requested(); 0: none yet.
    std::uint64_t save_interval() const { return save_interval_; }
    /// Whether a save was wished for since the last save_begins(), as of the last stop_requested().
    bool save_wished() const { return save_wished_; }
    void save_begins() { save_wished_ = false; }
    coordinator::WorkerChannel& channel() { return channel_; }

    /// The next message, which must be a T (Stops apart). Waits as long as the coordinator lives.
    template <typename T>
    T wait_for(const char* what) {
        coordinator::CoordinatorMessage message = next_answer();
        if (T* answer = std::get_if<T>(&message)) return std::move(*answer);
        throw InternalError("waiting for {} at step {}: the coordinator sent another message (number {} of its kinds)",
                            what, step_, message.index());
    }

  private:
    coordinator::CoordinatorMessage next_answer();
    bool note(const coordinator::CoordinatorMessage& message);
    void move_to(const char* phase, std::uint64_t step);
    void account(double now);
    void end_span(double now);
    void note_own_time(double seconds, bool to_pass);

    coordinator::WorkerChannel& channel_;
    std::deque<coordinator::CoordinatorMessage> answers_;  // that came while looking for a Stop
    bool stop_requested_ = false;
    std::uint64_t save_interval_ = 0;
    bool save_wished_ = false;
    std::string phase_ = "starting";
    std::uint64_t step_ = 0;
    double phase_began_ = 0;
    double span_began_ = 0;   // of a trace: the passes of a step are one
    std::uint64_t work_ = 0;  // pieces begun so far
    double memory_told_ = 0;
    std::uint64_t optimizer_bytes_ = 0;
    std::uint64_t trace_steps_ = 0;                 // to be recorded, not yet begun
    std::map<std::string, double> seconds_;         // since they were taken last
    std::map<std::string, double> seconds_in_all_;  // since the process began
    std::optional<coordinator::WhereaboutsFile> whereabouts_;
    double busy_seconds_ = 0;  // in data, forward and backward
    std::uint64_t busy_steps_ = 0;
};

}  // namespace kiban::worker
