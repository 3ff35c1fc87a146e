// SPDX-License-Identifier: Apache-2.0
// Writes a worker's shards beside its training: the state is copied into the slots of a pool, and one thread, the only
// one that calls HDF5 meanwhile, writes from there. The pool is all the memory that a save takes, however large the
// shard.
//
// A save: begin() at a step's boundary, place() when the directory is known, wait_copied() before anything changes that
// the slices point to, then `done` on the writer's thread. With a pool as large as the shard everything is copied in
// begin() (CopyMode::snapshot); else, or when asked for, the thread copies while training reads and does not change the
// state (CopyMode::lazy), as far as slots are free, and slots become free as they are written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/shard.h"
#include "checkpoint/staging_pool.h"

namespace kiban::checkpoint {

enum class CopyMode { snapshot, lazy };

struct ShardJob {
    std::uint64_t step = 0;
    int index = 0;                    // of this writer: the shard's number
    std::vector<TensorSlice> slices;  // their data stays as it is until wait_copied() said so
    double bytes_per_second = 0;      // of the writing, at most; 0: no limit. An update that waits lifts it
    double spread_seconds = 0;        // once all is copied, writing may take so long to spare training processor time
    bool direct = true;               // past the page cache where the file system offers it
    bool waited_for = false;          // otherwise the disk serves others first
};

struct ShardDone {
    std::uint64_t step = 0;
    std::string error;  // empty: written and durable
    std::optional<ShardReport> report;
    double seconds = 0;  // from having a place to being durable
};

struct WriterHooks {
    std::function<void(ShardDone)> done;        // on the writer's thread; not called for a save that got no place
    std::function<bool()> may_write = nullptr;  // asked now and then; false: gives the shard up
};

/// Calls action(0), ..., action(parts - 1), on several threads where that helps.
using ParallelFor = std::function<void(std::size_t parts, const std::function<void(std::size_t)>& action)>;
void one_after_another(std::size_t parts, const std::function<void(std::size_t)>& action);

class BackgroundWriter {
  public:
    BackgroundWriter();
    /// Gives up what is under way and waits for the thread, which may be in the hands of a slow disk.
    ~BackgroundWriter();
    BackgroundWriter(const BackgroundWriter&) = delete;
    BackgroundWriter& operator=(const BackgroundWriter&) = delete;

    /// Before the first save: takes the pool's memory and starts the thread. Not while one is under way.
    void open(const PoolSize& size, WriterHooks hooks);
    /// Gives up what is under way. Afterwards no hook is called and no slice is read; does not wait for the disk.
    void close();
    const StagingPool& pool() const;

    // The three below: one thread, the one that changes what slices point to.

    /// InternalError while another save is under way, or for a snapshot that the pool does not hold.
    void begin(ShardJob job, CopyMode mode, const ParallelFor& copy = one_after_another);
    /// Helps copying. False when `timeout_seconds` went by before all was copied.
    bool wait_copied(double timeout_seconds);
    /// Whether a wait_copied() would return at once.
    bool copied() const;

    // Any thread.

    /// Where the save of `step`, begun or soon to be, goes; with an error there is no place, and nothing is written.
    void place(std::uint64_t step, const std::filesystem::path& directory, const std::string& error);
    /// The save under way goes on without a limit of its speed.
    void hurry();
    /// Whether a save is under way.
    bool busy() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace kiban::checkpoint
