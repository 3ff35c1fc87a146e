// SPDX-License-Identifier: Apache-2.0
#include "worker/train/control.h"

#include <optional>

#include "coordinator/protocol/wire.h"
#include "monitoring/log.h"
#include "worker/comm/group.h"
#include "worker/train/runtime.h"

namespace kiban::worker {

using coordinator::CoordinatorMessage;
using coordinator::monotonic_seconds;

Control::Control(coordinator::WorkerChannel& channel) : channel_(channel), phase_began_(monotonic_seconds()) {
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
void Control::note_own_time(double seconds) {
    if (phase_ != "data" && phase_ != "forward") return;
    busy_seconds_ += seconds;
    if (phase_ == "forward") channel_.set_busy(busy_seconds_, ++busy_steps_);
}

void Control::enter(const char* phase, std::uint64_t step) {
    if (channel_.lost())
        throw CommError("the coordinator is lost in phase '{}' of step {}: this worker stops and writes nothing more",
                        phase_, step_);
    const double now = monotonic_seconds();
    seconds_[phase_] += now - phase_began_;
    note_own_time(now - phase_began_);
    phase_began_ = now;
    phase_ = phase;
    step_ = step;
    if (whereabouts_) whereabouts_->enter(phase, step);
    channel_.set_phase(phase, step);
    if (now - memory_told_ >= 1.0) {
        memory_told_ = now;
        channel_.set_memory(resident_bytes(), optimizer_bytes_);
    }
}

void Control::attribute(const char* phase, double seconds) {
    seconds_[phase] += seconds;
    seconds_[phase_] -= seconds;
}

std::map<std::string, double> Control::take_phase_seconds() {
    const double now = monotonic_seconds();
    seconds_[phase_] += now - phase_began_;
    phase_began_ = now;
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
    const auto* stop = std::get_if<coordinator::Stop>(&message);
    if (stop == nullptr) return false;
    monitoring::log_info("asked to save and stop: {}", stop->reason);
    stop_requested_ = true;
    return true;
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
