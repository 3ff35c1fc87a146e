// SPDX-License-Identifier: Apache-2.0
// An operation that has been started and is to be waited for. Move-only, of one thread at a time.
//
// The buffers of the operation must stay, and be left alone, until wait() has returned. A handle that goes without
// wait() waits in its destructor, where an error can only be logged: call wait().
#pragma once

#include <memory>

namespace kiban::worker {

class Handle {
  public:
    /// Of nothing: wait() returns at once.
    Handle() = default;
    Handle(Handle&&) noexcept = default;
    Handle& operator=(Handle&& other) noexcept;
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    ~Handle();

    /// Returns when the operation has ended; throws what it threw. The handle is then of nothing.
    void wait();

    struct State;
    explicit Handle(std::shared_ptr<State> state);

  private:
    void finish_unwaited() noexcept;
    std::shared_ptr<State> state_;
};

}  // namespace kiban::worker
