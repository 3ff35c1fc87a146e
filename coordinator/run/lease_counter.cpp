// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/lease_counter.h"

#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <span>
#include <string>
#include <utility>

#include "coordinator/protocol/wire.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

// Two coordinators may claim the same epoch at once, and only one of them makes the file.
monitoring::File open_or_create(const std::filesystem::path& file) {
    try {
        if (!monitoring::anything_at(file)) return monitoring::File::create(file);
    } catch (const IoError&) {
        if (!monitoring::anything_at(file)) throw;
    }
    return monitoring::File::open_write(file);
}

// Signals are the other threads' matter.
template <typename Work>
std::thread start_without_signals(Work work) {
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    std::thread thread(std::move(work));
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
}

}  // namespace

std::filesystem::path beat_file(const std::filesystem::path& directory, std::uint32_t epoch) {
    return directory / fmt::format("epoch-{:06}.beat", epoch);
}

LeaseCounter::LeaseCounter(std::filesystem::path directory, LeaseTiming timing)
    : directory_(std::move(directory)),
      timing_(timing),
      owner_was_here_(monotonic_seconds()),
      thread_(start_without_signals([this] { step_in(); })) {}

LeaseCounter::~LeaseCounter() {
    {
        const std::lock_guard lock(mutex_);
        ends_ = true;
    }
    wake_.notify_all();
    thread_.join();
}

void LeaseCounter::beat(std::uint32_t epoch) {
    const std::lock_guard lock(mutex_);
    owner_was_here_ = monotonic_seconds();
    epoch_ = epoch;
    move_on();
}

void LeaseCounter::follow(std::uint32_t epoch) {
    const std::lock_guard lock(mutex_);
    epoch_ = epoch;
}

bool LeaseCounter::is_due() {
    const std::lock_guard lock(mutex_);
    owner_was_here_ = monotonic_seconds();
    return std::exchange(stepped_in_, false) || owner_was_here_ >= next_renewal_;
}

bool LeaseCounter::postpone() {
    const std::lock_guard lock(mutex_);
    const double now = monotonic_seconds();
    if (now > last_beat_ + timing_.wait_seconds) return false;
    next_renewal_ = now + timing_.renew_seconds;
    return true;
}

void LeaseCounter::move_on() {
    next_renewal_ = monotonic_seconds() + timing_.renew_seconds;
    const std::string text = fmt::format("{:020}\n", ++value_);
    monitoring::File file = open_or_create(beat_file(directory_, epoch_));
    file.write_at(0, std::as_bytes(std::span(text)));
    file.close();
    last_beat_ = monotonic_seconds();
}

void LeaseCounter::step_in() {
    const std::chrono::duration<double> period(timing_.renew_seconds);
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, period, [this] { return ends_; })) {
        const double now = monotonic_seconds();
        const bool is_late = epoch_ != 0 && now > next_renewal_ + timing_.renew_seconds;
        if (!is_late || now > owner_was_here_ + timing_.longest_pause_seconds) continue;
        const double due = next_renewal_;
        try {
            move_on();
            stepped_in_ = true;
        } catch (const std::exception&) {
            next_renewal_ = due;  // the owner hears of it as soon as it is back
        }
    }
}

}  // namespace kiban::coordinator
