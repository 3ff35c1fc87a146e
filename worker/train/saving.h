// SPDX-License-Identifier: Apache-2.0
// A worker's part in checkpoints, beside its training: worker 0 asks for a place, every worker's writer thread writes
// its shard there, the coordinator commits.
//
// A periodic save costs training the copy of the shard (snapshot), or nothing but what of it is not yet copied when the
// next update comes (lazy); of tensors on a device, either way, also that to the host. One is under way at a time:
// whether it still is, is worker 0's knowledge, and rides on the step's reduction, so all workers begin or skip alike.
// Answers of the coordinator are taken by the control thread as they come; training does not wait for them in a
// periodic save, unless the pool is smaller than the shard: then an update may wait for the place and the disk. All
// functions are called by the training thread, those that save by all workers at the same step.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

#include "checkpoint/background_writer.h"
#include "checkpoint/config.h"
#include "checkpoint/state.h"
#include "worker/comm/group.h"
#include "worker/optim/sharded_optimizer.h"
#include "worker/train/control.h"

namespace kiban::worker {

class Saver {
  public:
    /// Takes the memory of the pool. All must outlive it. ConfigError when the pool cannot be as the run file wants it.
    Saver(const checkpoint::CheckpointConfig& config, const Group& world, ShardedOptimizer& optimizer,
          checkpoint::BackgroundWriter& writer, Control& control);
    /// Gives up what is under way; does not wait for the disk.
    ~Saver();
    Saver(const Saver&) = delete;
    Saver& operator=(const Saver&) = delete;

    /// Whether the save begun last is neither committed nor failed, as far as this worker knows.
    bool under_way() const;
    /// Begins a save of `state`, the present one. CommError when the coordinator is lost.
    void begin(const checkpoint::RunState& state);
    /// Saves it without limits and waits; one under way comes first. Whether it is committed; otherwise the reason is
    /// logged and training may go on.
    bool save_now(const checkpoint::RunState& state);
    /// Before parameters or optimizer state change: waits until what is being saved is copied.
    void before_update(std::uint64_t step);

  private:
    void begin_shard(const checkpoint::RunState& state, bool waited_for);
    double seconds_since_last_periodic();
    bool take(const coordinator::CoordinatorMessage& message);
    void end(std::uint64_t step, bool committed, const std::string& error);
    void wait_for_end(std::uint64_t step);
    void tell(checkpoint::ShardDone done);

    checkpoint::CheckpointConfig config_;
    const Group& world_;
    ShardedOptimizer& optimizer_;
    checkpoint::BackgroundWriter& writer_;
    Control& control_;
    bool holds_shard_ = false;   // the pool does
    double periodic_began_ = 0;  // monotonic time of the last periodic save; 0: none yet

    mutable std::mutex mutex_;  // of what follows: the control thread sets it
    std::condition_variable changed_;
    /// Steps grow; of a save that got no place a worker may hear before it has begun it.
    bool is_open() const { return begun_ && (!ended_ || *ended_ < *begun_); }
    std::optional<std::uint64_t> begun_;  // step of the save begun last
    std::optional<std::uint64_t> ended_;  // step of the save that ended last
    bool committed_ = false;              // that one
};

}  // namespace kiban::worker
