// SPDX-License-Identifier: Apache-2.0
// Blocks from files with their CRC-32C, by threads of its own: while one block is checked the next is being read, so
// that checking costs no time of a disk. Internal to this room.
//
// The threads live as long as the loader and use no HDF5. load() is for one thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "monitoring/file.h"

namespace kiban::checkpoint {

/// Reads and takes the CRC on the way, while what was read is in the processor's cache. IoError.
std::uint32_t read_with_crc(const monitoring::File& file, std::uint64_t offset, std::span<std::byte> to);

class BlockLoader {
  public:
    BlockLoader();
    ~BlockLoader();  // what was begun is ended
    BlockLoader(const BlockLoader&) = delete;
    BlockLoader& operator=(const BlockLoader&) = delete;

    /// The CRC of what will lie in `to`, which must live until then; the future throws the IoError of the read.
    std::future<std::uint32_t> load(std::shared_ptr<const monitoring::File> file, std::uint64_t offset,
                                    std::span<std::byte> to);

  private:
    void work();

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::packaged_task<std::uint32_t()>> jobs_;
    bool ending_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace kiban::checkpoint
