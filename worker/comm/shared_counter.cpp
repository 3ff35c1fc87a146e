// SPDX-License-Identifier: Apache-2.0
#include "worker/comm/shared_counter.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

namespace kiban::worker {
namespace {

constexpr int kPauses = 1000;
constexpr int kYields = 200;
constexpr long kSleepNanoseconds = 5'000'000;

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

// Not FUTEX_PRIVATE: the waiting and the waking process differ.
void futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value, const timespec* timeout) {
    syscall(SYS_futex, &word, operation, value, timeout, nullptr, 0);
}

}  // namespace

// A sleeper counts itself before it looks at the value, and the value is raised before the sleepers are looked at, both
// sequentially consistent: one of the two sees the other. The kernel compares the value once more before it sleeps.
void SharedCounter::raise(std::uint32_t value) {
    value_.store(value, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) != 0) futex(value_, FUTEX_WAKE, INT_MAX, nullptr);
}

void SharedCounter::sleep(std::uint32_t value) {
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    const std::uint32_t found = value_.load(std::memory_order_seq_cst);
    if (static_cast<std::int32_t>(found - value) < 0) {
        const timespec timeout{0, kSleepNanoseconds};
        futex(value_, FUTEX_WAIT, found, &timeout);
    }
    sleepers_.fetch_sub(1, std::memory_order_seq_cst);
}

bool SharedCounter::spin(std::uint32_t value) const {
    for (int i = 0; i < kPauses; ++i) {
        pause();
        if (reached(value)) return true;
    }
    for (int i = 0; i < kYields; ++i) {
        sched_yield();
        if (reached(value)) return true;
    }
    return false;
}

}  // namespace kiban::worker
