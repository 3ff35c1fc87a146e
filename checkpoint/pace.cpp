// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/pace.h"

#include <algorithm>
#include <ctime>

#include "checkpoint/shard.h"

namespace kiban::checkpoint {
namespace {

constexpr std::uint64_t kLargestChunk = kCrcBlockBytes;
constexpr std::uint64_t kSmallestChunk = 64 << 10;
constexpr double kChunksPerSecond = 4;    // at a limited speed
constexpr double kProcessorShare = 0.05;  // of one, that a writing which may be spread takes

Pace::Clock::duration duration_of(double seconds) {
    return std::chrono::duration_cast<Pace::Clock::duration>(std::chrono::duration<double>(seconds));
}

}  // namespace

double thread_seconds() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

Pace::Pace(std::uint64_t bytes, double bytes_per_second, double spread_seconds, Clock::time_point now)
    : bytes_(bytes), bytes_per_second_(bytes_per_second), spread_seconds_(spread_seconds), start_(now) {}

std::uint64_t Pace::chunk_bytes() const {
    if (bytes_per_second_ <= 0) return kLargestChunk;
    const double chunk = bytes_per_second_ / kChunksPerSecond;
    if (chunk >= static_cast<double>(kLargestChunk)) return kLargestChunk;
    return std::max(kSmallestChunk, static_cast<std::uint64_t>(chunk) / kSmallestChunk * kSmallestChunk);
}

Pace::Clock::time_point Pace::next(Clock::time_point began, std::uint64_t bytes, double worked, bool spread) {
    written_ += bytes;
    Clock::time_point time = began;
    if (bytes_per_second_ > 0) time += duration_of(static_cast<double>(bytes) / bytes_per_second_);
    if (spread_seconds_ <= 0 || !spread) return time;
    // No later than an even spread over all the time there is.
    const double part = static_cast<double>(written_) / static_cast<double>(bytes_);
    const Clock::time_point even = start_ + duration_of(spread_seconds_ * part);
    return std::max(time, std::min(even, began + duration_of(worked / kProcessorShare)));
}

}  // namespace kiban::checkpoint
