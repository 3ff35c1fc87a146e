// SPDX-License-Identifier: Apache-2.0
#include "worker/train/control.h"

#include <chrono>
#include <optional>

#include "coordinator/protocol/wire.h"
#include "monitoring/log.h"
#include "worker/comm/group.h"
#include "worker/comm/trace.h"
#include "worker/train/runtime.h"

namespace kiban::worker {

using coordinator::CoordinatorMessage;
using coordinator::monotonic_seconds;

namespace {

constexpr std::string_view kDone = "done";

bool is_pass(std::string_view phase) { return phase == "forward" || phase == "backward"; }

TraceClock::time_point time_of(double monotonic) {  // the same clock
    return TraceClock::time_point(
        std::chrono::duration_cast<TraceClock::duration>(std::chrono::duration<double>(monotonic)));
}

}  // namespace

Control::Control(coordinator::WorkerChannel& channel)
    : channel_(channel), phase_began_(monotonic_seconds()), span_began_(phase_began_) {
    channel_.set_collective([] { return Group::collectives_begun(); });
}

void Control::keep_whereabouts(const std::filesystem::path& file) {
    try {
        whereabouts_.emplace(file);
        whereabouts_->enter(phase_.c_str(), step_);
    } catch (const IoError& error) {
        monitoring::log_warning("nobody will know where this worker was: {}", error.what());
    }
}

void Control::set_position(std::uint64_t position) {
    if (whereabouts_) whereabouts_->set_position(position);
}

// What of a step does not wait for other workers, where rows and passes alone are this worker's.
void Control::note_own_time(double seconds, bool to_pass) {
    if (phase_ != "data" && !is_pass(phase_)) return;
    busy_seconds_ += seconds;
    if (is_pass(phase_) && !to_pass) channel_.set_busy(busy_seconds_, ++busy_steps_);
}

void Control::enter(const char* phase, std::uint64_t step) {
    if (channel_.lost())
        throw CommError("the coordinator is lost in phase '{}' of step {}: this worker stops and writes nothing more",
                        phase_, step_);
    move_to(phase, step);
}

void Control::begin_pass(const char* phase) {
    move_to(phase, step_);
    note_work();
}

void Control::note_work() { channel_.set_work(++work_); }

void Control::move_to(const char* phase, std::uint64_t step) {
    const double now = monotonic_seconds();
    note_own_time(now - phase_began_, is_pass(phase));
    account(now);
    if (!is_pass(phase_) || !is_pass(phase)) end_span(now);
    phase_ = phase;
    step_ = step;
    if (whereabouts_) whereabouts_->enter(phase, step);
    channel_.set_phase(phase, step);
    if (phase == kDone || now - memory_told_ >= 1.0) {
        memory_told_ = now;
        channel_.set_memory(resident_bytes(), optimizer_bytes_);
        channel_.set_phase_seconds(seconds_in_all_);
    }
    if (phase == kDone) channel_.beat();  // nothing may come after it
}

void Control::account(double now) {
    seconds_[phase_] += now - phase_began_;
    seconds_in_all_[phase_] += now - phase_began_;
    phase_began_ = now;
}

void Control::end_span(double now) {
    if (tracing()) trace("phases", phase_, step_, time_of(span_began_), time_of(now));
    span_began_ = now;
}

std::map<std::string, double> Control::take_phase_seconds() {
    account(monotonic_seconds());
    return std::exchange(seconds_, {});
}

void Control::keep_seconds_of(const std::string& phase) {
    const std::map<std::string, double> all = take_phase_seconds();
    if (const auto kept = all.find(phase); kept != all.end()) seconds_.insert(*kept);
}

// Whether it is one of those that wait for the end of a step.
bool Control::note(const CoordinatorMessage& message) {
    if (const auto* interval = std::get_if<coordinator::SaveInterval>(&message)) {
        save_interval_ = interval->steps;
        return true;
    }
    if (const auto* soon = std::get_if<coordinator::SaveSoon>(&message)) {
        monitoring::log_info("asked to save: {}", soon->reason);
        save_wished_ = true;
        return true;
    }
    if (const auto* wish = std::get_if<coordinator::TraceSteps>(&message)) {
        trace_steps_ = wish->steps;
        return true;
    }
    const auto* stop = std::get_if<coordinator::Stop>(&message);
    if (stop == nullptr) return false;
    monitoring::log_info("asked to save and stop: {}", stop->reason);
    stop_requested_ = true;
    return true;
}

bool Control::takes_trace_step() {
    if (trace_steps_ == 0) return false;
    --trace_steps_;
    return true;
}

void Control::record(bool on, std::size_t most_spans) {
    if (on == tracing()) return;
    end_span(monotonic_seconds());  // spans begin and end with the trace
    if (on) return start_trace(most_spans);
    const auto since_1970 = std::chrono::system_clock::now().time_since_epoch() - TraceClock::now().time_since_epoch();
    const auto nanoseconds = [](auto duration) {
        return std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
    };
    const RecordedTrace recorded = end_trace();
    coordinator::TracedSteps traced{.spans = nlohmann::json::array(), .left_out = recorded.left_out};
    for (const TraceSpan& span : recorded.spans) {
        traced.spans.push_back(nlohmann::json::array({span.track, span.name, span.step,
                                                      nanoseconds(span.begin.time_since_epoch() + since_1970),
                                                      nanoseconds(span.end - span.begin)}));
    }
    channel_.send(traced);
}

bool Control::stop_requested() {
    while (std::optional<CoordinatorMessage> message = channel_.receive(0)) {
        if (!note(*message)) answers_.push_back(std::move(*message));
    }
    return stop_requested_;
}

CoordinatorMessage Control::next_answer() {
    constexpr double kWaitSeconds = 1;
    while (answers_.empty()) {
        std::optional<CoordinatorMessage> message = channel_.receive(kWaitSeconds);
        if (message && !note(*message)) answers_.push_back(std::move(*message));
    }
    CoordinatorMessage first = std::move(answers_.front());
    answers_.pop_front();
    return first;
}

}  // namespace kiban::worker
