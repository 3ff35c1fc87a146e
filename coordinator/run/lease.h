// SPDX-License-Identifier: Apache-2.0
// Who may drive a run directory: RUN/lease/epoch-000007, made with O_EXCL; the highest epoch owns the run. An epoch is
// an attempt number.
//
// The owner's file names host, pid, start time and a nonce; a counter beside it (lease_counter.h) is renewed while the
// owner lives. In the same boot and pid namespace a dead owner is known at once by pid and start time; from
// elsewhere the counter must stand still for wait_seconds. No flock, no trust in mtime. One thread; is_current()
// may be asked on another one while no attempt begins.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "coordinator/run/lease_counter.h"

namespace kiban::coordinator {

/// A live coordinator from which the run was taken.
struct Overtaken {
    std::string host;
    int pid = 0;
    std::uint32_t epoch = 0;
    bool let_go = false;  // it has ended its workers and itself; not within wait_seconds otherwise
};

class Lease {
  public:
    /// Takes the next epoch. ConfigError naming the owner when a live coordinator has the run; with `take_over` the
    /// epoch is taken from it, which ends it (require_current), and this returns when it has let go, or could not in
    /// wait_seconds.
    static Lease acquire(const std::filesystem::path& run_dir, LeaseTiming timing = {}, bool take_over = false);
    ~Lease();  // removes the counter: released
    Lease(Lease&&) noexcept;
    Lease& operator=(Lease&&) = delete;

    std::uint32_t attempt() const { return epoch_; }
    /// From whom acquire() took the run, if anybody had it.
    const std::optional<Overtaken>& overtaken() const { return overtaken_; }
    /// The same owner goes on with a higher epoch. CommError when another coordinator has taken the run; IoError when
    /// the disk refuses it: then it is as it was, and may be asked again.
    std::uint32_t next_attempt();
    /// False when another coordinator has taken a higher epoch: nothing may be published any more.
    bool is_current() const;
    /// CommError when is_current() is false.
    void require_current() const;
    /// Renews the counter when it is time; cheap otherwise. CommError when another coordinator has taken the run, or
    /// the files of the lease are gone: this one must end its workers and write nothing more; IoError when it could not
    /// be renewed for wait_seconds.
    void renew();

  private:
    Lease(std::filesystem::path directory, LeaseTiming timing);
    bool take(std::uint32_t epoch);
    bool claim(std::uint32_t epoch) const;
    void wait_for_end_of(Overtaken owner);
    [[noreturn]] void refuse_lost() const;

    std::filesystem::path directory_;
    LeaseTiming timing_;
    std::uint32_t epoch_ = 0;  // 0: holds nothing
    std::unique_ptr<LeaseCounter> counter_;
    std::optional<Overtaken> overtaken_;
};

struct LeaseOwner {
    std::string host;
    int pid = 0;
    bool alive = false;       // known only when `here`
    bool here = false;        // same boot and pid namespace as this process
    std::uint32_t epoch = 0;  // 0: the run never had an owner
};
/// For `kiban status`: who has, or had, the run.
LeaseOwner lease_owner(const std::filesystem::path& run_dir);

}  // namespace kiban::coordinator
