// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/lease.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <span>
#include <thread>
#include <utility>

#include "coordinator/launch/process_id.h"
#include "coordinator/protocol/wire.h"
#include "coordinator/run/file_owner.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

constexpr std::uint32_t kEpochsKept = 16;

std::filesystem::path epoch_file(const std::filesystem::path& directory, std::uint32_t epoch) {
    return directory / fmt::format("epoch-{:06}", epoch);
}

std::uint32_t highest_epoch(const std::filesystem::path& directory) {
    std::uint32_t highest = 0;
    if (!monitoring::anything_at(directory)) return highest;
    for (const std::string& name : monitoring::names_in(directory)) {
        std::uint32_t epoch = 0;
        if (!name.starts_with("epoch-")) continue;
        const char* end = name.data() + name.size();
        const auto [stop, code] = std::from_chars(name.data() + 6, end, epoch);
        if (code == std::errc() && stop == end) highest = std::max(highest, epoch);
    }
    return highest;
}

void sleep_seconds(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

// The file is made before it is written. nullopt when its owner died in between.
std::optional<FileOwner> await_owner(const std::filesystem::path& file) {
    auto owner = read_owner(file);
    for (int i = 0; !owner && i < 10; ++i) {
        sleep_seconds(0.1);
        owner = read_owner(file);
    }
    return owner;
}

std::string read_beat(const std::filesystem::path& file) { return monitoring::read_text_if_exists(file).value_or(""); }

// Whether the owner of `epoch` lives. Waits when that cannot be known at once.
bool owner_lives(const std::filesystem::path& directory, std::uint32_t epoch, const LeaseTiming& timing) {
    const auto owner = await_owner(epoch_file(directory, epoch));
    if (!owner) return false;
    const std::string first = read_beat(beat_file(directory, epoch));
    if (owner->is_here()) {
        const bool released_by_us = owner->process == this_process() && first.empty();
        return !released_by_us && is_alive(owner->process);
    }
    if (first.empty()) return false;  // released
    for (const double end = monotonic_seconds() + timing.wait_seconds; monotonic_seconds() < end;) {
        sleep_seconds(std::min(0.2, timing.wait_seconds));
        const std::string beat = read_beat(beat_file(directory, epoch));
        if (beat.empty()) return false;
        if (beat != first) return true;
    }
    return false;
}

}  // namespace

Lease::Lease(std::filesystem::path directory, LeaseTiming timing) : directory_(std::move(directory)), timing_(timing) {}

Lease Lease::acquire(const std::filesystem::path& run_dir, LeaseTiming timing, bool take_over) {
    Lease lease(run_dir / "lease", timing);
    monitoring::make_directories(lease.directory_);
    lease.counter_ = std::make_unique<LeaseCounter>(lease.directory_, timing);
    for (;;) {
        const std::uint32_t highest = highest_epoch(lease.directory_);
        std::optional<Overtaken> live;
        if (highest > 0 && owner_lives(lease.directory_, highest, timing)) {
            const auto owner = read_owner(epoch_file(lease.directory_, highest)).value_or(FileOwner{});
            if (!take_over) {
                throw ConfigError(
                    "run directory '{}' is in use by a live coordinator: process {} on host '{}' (attempt {}); stop it "
                    "first ('kiban stop'), take the run from it with 'kiban pretrain --take-over', or name another "
                    "directory with --run-dir",
                    run_dir.string(), owner.process.pid, owner.host, highest);
            }
            live = Overtaken{.host = owner.host, .pid = owner.process.pid, .epoch = highest, .let_go = false};
        }
        const bool gone = highest > 0 && !monitoring::anything_at(epoch_file(lease.directory_, highest));
        if (gone) continue;                      // a claim that failed was taken back: the owner before it may live
        if (!lease.take(highest + 1)) continue;  // another one was quicker; look at it
        if (live) lease.wait_for_end_of(*std::move(live));
        return lease;
    }
}

// It hears of it when it renews, ends its workers and lets go. One that cannot, since it is stopped or cut off, is
// waited for as long as a dead one is: it may publish nothing any more.
void Lease::wait_for_end_of(Overtaken owner) {
    const auto named = read_owner(epoch_file(directory_, owner.epoch));
    for (const double end = monotonic_seconds() + timing_.wait_seconds; monotonic_seconds() < end;) {
        const bool is_dead = named && named->is_here() && !is_alive(named->process);
        owner.let_go = is_dead || read_beat(beat_file(directory_, owner.epoch)).empty();
        if (owner.let_go) break;
        renew();
        sleep_seconds(std::min(0.1, timing_.wait_seconds));
    }
    overtaken_ = std::move(owner);
}

Lease::Lease(Lease&& other) noexcept
    : directory_(std::move(other.directory_)),
      timing_(other.timing_),
      epoch_(std::exchange(other.epoch_, 0)),
      counter_(std::move(other.counter_)),
      overtaken_(std::move(other.overtaken_)) {}

Lease::~Lease() {
    counter_.reset();  // nobody makes the file again
    if (epoch_ != 0) monitoring::file_system().unlink(beat_file(directory_, epoch_));
}

// False when another one was quicker.
bool Lease::claim(std::uint32_t epoch) const {
    const std::string text = fields_of_this_process().dump() + "\n";
    const auto name = epoch_file(directory_, epoch);
    std::optional<monitoring::File> file;
    try {
        file.emplace(monitoring::File::create(name));
    } catch (const IoError&) {
        if (monitoring::anything_at(name)) return false;
        throw;
    }
    try {
        file->append(std::as_bytes(std::span(text)));
        file->sync();
        file->close();
        monitoring::sync_directory(directory_);
    } catch (const IoError&) {  // a full disk: left there, it would look like another coordinator's
        monitoring::file_system().unlink(name);
        throw;
    }
    return true;
}

bool Lease::take(std::uint32_t epoch) {
    bool is_ours = false;
    try {
        // First the counter, then the claim: an epoch without a counter is a released one.
        counter_->beat(epoch);
        is_ours = claim(epoch);
    } catch (const IoError&) {
        counter_->follow(epoch_);
        throw;
    }
    if (!is_ours) {
        counter_->follow(epoch_);
        return false;
    }
    // What cannot be deleted is only litter.
    if (epoch_ != 0) monitoring::file_system().unlink(beat_file(directory_, epoch_));
    if (epoch > kEpochsKept) {
        monitoring::file_system().unlink(epoch_file(directory_, epoch - kEpochsKept));
        monitoring::file_system().unlink(beat_file(directory_, epoch - kEpochsKept));
    }
    epoch_ = epoch;
    return true;
}

void Lease::refuse_lost() const {
    const std::uint32_t highest = highest_epoch(directory_);
    if (highest < epoch_) {
        throw CommError(
            "the lease of the run in '{}' is gone: expected '{}', and it is not there (removed, or its file system is "
            "no longer mounted); without it another coordinator could take the run unseen, so this one stops; bring "
            "the directory back, and the same command goes on from the newest checkpoint",
            directory_.parent_path().string(), epoch_file(directory_, epoch_).string());
    }
    FileOwner owner;
    try {
        owner = await_owner(epoch_file(directory_, highest)).value_or(FileOwner{});
    } catch (const IoError&) {  // who it is matters less than that it is
    }
    throw CommError(
        "another coordinator (process {} on host '{}', attempt {}) has taken the run in '{}': this one ends its "
        "workers and writes nothing more; do not start it again",
        owner.process.pid, owner.host, highest, directory_.parent_path().string());
}

std::uint32_t Lease::next_attempt() {
    if (!is_current() || !take(epoch_ + 1)) refuse_lost();
    return epoch_;
}

bool Lease::is_current() const { return highest_epoch(directory_) == epoch_; }

void Lease::require_current() const {
    if (!is_current()) refuse_lost();
}

void Lease::renew() {
    if (!counter_->is_due()) return;
    try {
        require_current();
        counter_->beat(epoch_);
    } catch (const IoError& error) {  // a file system may stumble; nobody takes the run before the counter is stale
        if (!counter_->postpone()) throw;
        monitoring::log_warning("cannot renew the lease, which holds a while yet: {}", error.what());
    }
}

LeaseOwner lease_owner(const std::filesystem::path& run_dir) {
    LeaseOwner result;
    result.epoch = highest_epoch(run_dir / "lease");
    if (result.epoch == 0) return result;
    const auto owner = read_owner(epoch_file(run_dir / "lease", result.epoch));
    if (!owner) return result;
    result.host = owner->host;
    result.pid = owner->process.pid;
    result.here = owner->is_here();
    result.alive = result.here && is_alive(owner->process);
    return result;
}

}  // namespace kiban::coordinator
