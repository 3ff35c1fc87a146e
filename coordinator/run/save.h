// SPDX-License-Identifier: Apache-2.0
// One checkpoint from the coordinator's side: staging directory -> every worker's shard -> curve durable, and in it
// up to the step -> commit -> retention -> all are told.
//
// The commit and what it sweeps run on a thread, since a slow disk may take minutes for them, while the coordinator has
// workers to hear and a lease to renew. A save that fails is abandoned and told to the workers; training goes on and
// the older checkpoints stay. One save at a time; all functions are called by one thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "checkpoint/commit.h"
#include "coordinator/protocol/coordinator_channel.h"
#include "coordinator/protocol/messages.h"
#include "coordinator/protocol/wake.h"
#include "monitoring/curve.h"

namespace kiban::coordinator {

struct SaveSetup {
    std::filesystem::path run_dir;
    std::uint32_t attempt = 0;
    int workers = 1;
    std::uint32_t keep = 3;
    std::function<bool()> is_current;  // whether this coordinator still owns the run; asked on the commit's thread
    std::uint64_t milestone_steps = 0;
    /// Makes durable what must not be younger than the checkpoint; returns the curve up to the step, a copy, since
    /// training goes on while the commit's thread puts it into the checkpoint.
    std::function<std::vector<monitoring::CurveRow>(std::uint64_t step)> before_commit;
};

struct SaveOutcome {
    std::uint64_t step = 0;
    std::optional<checkpoint::CheckpointInfo> committed;
    double seconds = 0;        // from the request on
    double write_seconds = 0;  // of the slowest worker's shard
    std::string error;         // why not
};

class SaveFlow {
  public:
    explicit SaveFlow(SaveSetup setup) : setup_(std::move(setup)) {}
    ~SaveFlow() { end(); }

    /// InternalError when a save is under way. Returns the outcome when the save could not begin.
    std::optional<SaveOutcome> begin(CoordinatorChannel& channel, const StageRequest& request);
    /// What later saves keep of the older ones; that of a commit which is under way stays.
    void retain(std::uint32_t keep, std::uint64_t milestone_steps);
    /// Begins the commit once every worker has answered; the outcome when there is nothing to commit.
    std::optional<SaveOutcome> shard_written(CoordinatorChannel& channel, int rank, const ShardWritten& message);
    /// Readable when outcome() has something to say.
    int descriptor() const { return concluded_.descriptor(); }
    /// Of a commit that has come to its end; the workers are told.
    std::optional<SaveOutcome> outcome(CoordinatorChannel& channel);
    /// Whether a commit is under way.
    bool committing() const { return thread_.joinable(); }
    /// The attempt ended in the middle: waits for a commit that is under way, forgets the save otherwise.
    std::optional<SaveOutcome> end();

  private:
    void commit(const std::vector<checkpoint::ShardReport>& reports, const std::vector<monitoring::CurveRow>& rows);
    std::vector<checkpoint::ShardReport> reports() const;
    checkpoint::RetentionRule rule_of(std::uint32_t keep, std::uint64_t milestone_steps) const;
    void abandon();
    SaveOutcome finish();
    void tell(CoordinatorChannel& channel, const SaveOutcome& outcome) const;

    SaveSetup setup_;
    checkpoint::RetentionRule kept_ = rule_of(setup_.keep, setup_.milestone_steps);
    checkpoint::RetentionRule next_kept_ = kept_;  // kept_ is the commit's thread's until it is joined
    bool active_ = false;
    StageRequest request_;
    std::filesystem::path staging_;
    std::vector<std::optional<ShardWritten>> answers_;
    double started_ = 0;
    SaveOutcome outcome_;  // the commit's thread's until it is joined
    Wake concluded_;
    std::thread thread_;
};

}  // namespace kiban::coordinator
