// SPDX-License-Identifier: Apache-2.0
// The counter of a lease: RUN/lease/epoch-000007.beat, 20 digits, which moves on while the owner of the epoch lives.
//
// The owner's thread renews it. Where that one is held up, as by a disk on which an fsync takes a minute, a thread of
// the counter's own steps in, so that nobody takes the run from an owner that lives; for longest_pause_seconds at most:
// who never comes back must not keep the run.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <thread>

namespace kiban::coordinator {

struct LeaseTiming {
    double renew_seconds = 2;
    double wait_seconds = 15;  // a counter that stands still so long has no owner
    double longest_pause_seconds = 300;
};

std::filesystem::path beat_file(const std::filesystem::path& directory, std::uint32_t epoch);

/// For the owner's thread.
class LeaseCounter {
  public:
    LeaseCounter(std::filesystem::path directory, LeaseTiming timing);
    ~LeaseCounter();  // the file stays
    LeaseCounter(const LeaseCounter&) = delete;
    LeaseCounter& operator=(const LeaseCounter&) = delete;

    /// Moves the counter of `epoch` on, which is the one that is kept from now on. IoError.
    void beat(std::uint32_t epoch);
    /// Keeps the counter of `epoch` from now on; 0: none.
    void follow(std::uint32_t epoch);
    /// Whether the owner, who is there since it asks, is to renew it: always when it was away for so long that the
    /// thread has done so, since much may have happened then.
    bool is_due();
    /// It was due and could not be renewed: not again for renew_seconds. False when it has stood still for
    /// wait_seconds.
    bool postpone();

  private:
    void move_on();
    void step_in();

    const std::filesystem::path directory_;
    const LeaseTiming timing_;
    std::mutex mutex_;  // of all below
    std::condition_variable wake_;
    bool ends_ = false;
    std::uint32_t epoch_ = 0;
    std::uint64_t value_ = 0;
    double next_renewal_ = 0;
    double last_beat_ = 0;
    double owner_was_here_;
    bool stepped_in_ = false;  // since the owner was here
    std::thread thread_;
};

}  // namespace kiban::coordinator
