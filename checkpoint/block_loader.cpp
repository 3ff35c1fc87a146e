// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/block_loader.h"

#include <algorithm>
#include <utility>

#include "monitoring/crc32c.h"

namespace kiban::checkpoint {
namespace {

constexpr std::size_t kThreads = 2;  // one reads while the other checks
constexpr std::size_t kPieceBytes = 256U << 10;

}  // namespace

std::uint32_t read_with_crc(const monitoring::File& file, std::uint64_t offset, std::span<std::byte> to) {
    std::uint32_t crc = 0;
    while (!to.empty()) {
        const auto piece = to.first(std::min(to.size(), kPieceBytes));
        file.read_at(offset, piece);
        crc = monitoring::crc32c(piece, crc);
        offset += piece.size();
        to = to.subspan(piece.size());
    }
    return crc;
}

BlockLoader::BlockLoader() {
    for (std::size_t i = 0; i < kThreads; ++i) threads_.emplace_back([this] { work(); });
}

BlockLoader::~BlockLoader() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

std::future<std::uint32_t> BlockLoader::load(std::shared_ptr<const monitoring::File> file, std::uint64_t offset,
                                             std::span<std::byte> to) {
    std::packaged_task<std::uint32_t()> job(
        [file = std::move(file), offset, to] { return read_with_crc(*file, offset, to); });
    auto crc = job.get_future();
    {
        const std::lock_guard lock(mutex_);
        jobs_.push_back(std::move(job));
    }
    changed_.notify_one();
    return crc;
}

void BlockLoader::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
        if (jobs_.empty()) return;
        auto job = std::move(jobs_.front());
        jobs_.pop_front();
        lock.unlock();
        job();
        job = {};  // the file goes here, not under the lock
        lock.lock();
    }
}

}  // namespace kiban::checkpoint
