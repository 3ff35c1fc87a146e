// SPDX-License-Identifier: Apache-2.0
#include "worker/comm/handle.h"

#include <utility>

#include "monitoring/log.h"
#include "worker/comm/handle_state.h"

namespace kiban::worker {

Handle::Handle(std::shared_ptr<State> state) : state_(std::move(state)) {}

Handle& Handle::operator=(Handle&& other) noexcept {
    if (this == &other) return *this;
    finish_unwaited();
    state_ = std::move(other.state_);
    return *this;
}

Handle::~Handle() { finish_unwaited(); }

void Handle::wait() {
    if (!state_) return;
    const std::shared_ptr<State> state = std::exchange(state_, nullptr);
    if (!state->queued && !state->has_ended()) in_turn([&state] { state->progress(true); });
    state->wait();
}

void Handle::finish_unwaited() noexcept {
    if (!state_) return;
    try {
        monitoring::log_error("a started operation was not waited for: its handle goes");
        wait();
    } catch (const std::exception& error) {
        monitoring::log_error("an operation that was not waited for failed: {}", error.what());
    } catch (...) {
        monitoring::log_error("an operation that was not waited for failed");
    }
}

}  // namespace kiban::worker
