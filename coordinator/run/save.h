// SPDX-License-Identifier: Apache-2.0
// One checkpoint from the coordinator's side: staging directory -> every worker's shard -> curve durable -> commit ->
// retention -> all are told.
//
// A save that fails is abandoned and told to the workers; training goes on and the older checkpoints stay. One thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "checkpoint/commit.h"
#include "coordinator/protocol/coordinator_channel.h"
#include "coordinator/protocol/messages.h"

namespace kiban::coordinator {

struct SaveSetup {
    std::filesystem::path run_dir;
    std::uint32_t attempt = 0;
    int workers = 1;
    std::uint32_t keep = 3;
    std::function<bool()> is_current;     // whether this coordinator still owns the run
    std::function<void()> before_commit;  // makes durable what must not be younger than the checkpoint
};

struct SaveOutcome {
    std::uint64_t step = 0;
    std::optional<checkpoint::CheckpointInfo> committed;
    double seconds = 0;  // from the request on
    std::string error;   // why not
};

class SaveFlow {
  public:
    explicit SaveFlow(SaveSetup setup) : setup_(std::move(setup)) {}

    /// InternalError when a save is under way. Returns the outcome when the save could not begin.
    std::optional<SaveOutcome> begin(CoordinatorChannel& channel, const StageRequest& request);
    /// The outcome once every worker has answered.
    std::optional<SaveOutcome> shard_written(CoordinatorChannel& channel, int rank, const ShardWritten& message);
    /// The attempt ended in the middle: forgets the save.
    void abandon();

  private:
    SaveOutcome conclude(CoordinatorChannel& channel);

    SaveSetup setup_;
    bool active_ = false;
    StageRequest request_;
    std::filesystem::path staging_;
    std::vector<std::optional<ShardWritten>> answers_;
    double started_ = 0;
};

}  // namespace kiban::coordinator
