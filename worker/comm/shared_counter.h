// SPDX-License-Identifier: Apache-2.0
// A counter in memory that several processes map: one process raises it, the others wait for a value.
//
// What the raising process wrote before raise() is visible to a process that has seen the value. Values only grow and
// may wrap: they are compared as distances, which must stay below 2^31. A waiting process spins shortly, yields, then
// sleeps in the kernel, so that more ranks than cores do not burn them.
#pragma once

#include <atomic>
#include <cstdint>

namespace kiban::worker {

class alignas(64) SharedCounter {
  public:
    /// By the owner alone.
    void raise(std::uint32_t value);

    bool reached(std::uint32_t value) const {
        return static_cast<std::int32_t>(value_.load(std::memory_order_acquire) - value) >= 0;
    }

    /// Returns once reached(value). Calls `poll` before each sleep of at most some milliseconds: a peer may need it to
    /// come this far. While poll() is false it yields instead.
    template <typename Poll>
    void wait(std::uint32_t value, const Poll& poll) {
        if (reached(value) || spin(value)) return;
        while (!reached(value)) {
            if (poll()) {
                sleep(value);
            } else {
                spin(value);
            }
        }
    }

  private:
    bool spin(std::uint32_t value) const;  // whether it was reached
    void sleep(std::uint32_t value);

    std::atomic<std::uint32_t> value_{0};
    std::atomic<std::uint32_t> sleepers_{0};
};

static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

}  // namespace kiban::worker
