// SPDX-License-Identifier: Apache-2.0
// When a step is safe: staging directory -> all shards reported and tiling -> MANIFEST -> COMMIT -> rename. The rename
// is the commit point. The newest valid checkpoint is found by scanning, never by trusting a pointer. Driven by the
// coordinator alone.
//
//   RUN/ckpt/step-000000012000-a000007/{COMMIT,MANIFEST.json,shard-00000.h5,...}   visible name = committed; a =
//   attempt RUN/ckpt/.staging/step-...-<nonce>/   RUN/ckpt/.trash/   RUN/ckpt/rejected.jsonl
//
// Functions that write are called by one thread of the lease holder; those that only read may be called from anywhere.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/curve.h"
#include "checkpoint/shard.h"

namespace kiban::checkpoint {

struct CheckpointInfo {
    std::filesystem::path directory;
    std::uint64_t step = 0;
    std::uint32_t attempt = 0;
    std::uint64_t bytes = 0;  // of all files, as COMMIT says; 0 when it cannot be read
};

/// Makes the staging directory of one save. IoError when fewer than `needed_bytes` + 10 % are free. Fault point
/// ckpt.stage.
std::filesystem::path begin_checkpoint(const std::filesystem::path& run_dir, std::uint64_t step, std::uint32_t attempt,
                                       std::uint64_t needed_bytes);

/// Publishes a staged checkpoint. CheckpointError when boxes do not tile a tensor, a shard is missing or differs in
/// size, or a newer attempt exists (`is_current()` false, asked first and again just before the rename): nothing
/// becomes visible then. `state` is the run state table (checkpoint/state.h); `curve` what write_curve() reported
/// into the staging directory. Fault points ckpt.manifest, ckpt.commit_record, ckpt.rename.
CheckpointInfo commit_checkpoint(const std::filesystem::path& run_dir, const std::filesystem::path& staging,
                                 std::uint64_t step, std::uint32_t attempt, const std::vector<ShardReport>& shards,
                                 const nlohmann::json& state, const std::function<bool()>& is_current,
                                 const std::optional<CurveReport>& curve = std::nullopt);

/// Forgets a failed save (moves the staging directory away and deletes it). Nothing to do when it is gone.
void abandon_checkpoint(const std::filesystem::path& staging);

/// Committed checkpoints by name, newest first (highest step, then highest attempt), without rejected ones.
std::vector<CheckpointInfo> list_checkpoints(const std::filesystem::path& run_dir);

/// Records why a checkpoint is not to be trusted, so that it is never tried again. After a roll-back all later ones are
/// to be rejected too.
void reject_checkpoint(const std::filesystem::path& run_dir, const CheckpointInfo& checkpoint,
                       const std::string& reason);

/// Whether COMMIT, MANIFEST and file sizes agree (no payload read); otherwise the reason.
std::optional<std::string> quick_fault(const std::filesystem::path& checkpoint);

/// Newest checkpoint without a quick fault (faulty ones are rejected on the way, and `on_rejected` told of each, with
/// the reason); nullopt when there never was one.
/// IoError when one cannot be read: that may pass, and rejects nothing.
/// CheckpointError when there are candidates and none is valid: never start over silently. Also when the newest was
/// written by a newer Kiban: that is neither passed over nor rejected.
std::optional<CheckpointInfo> newest_checkpoint(
    const std::filesystem::path& run_dir,
    const std::function<void(const CheckpointInfo&, const std::string& reason)>& on_rejected = {});

/// What retention keeps besides pinned checkpoints and the newest promoted one with the sound one before it.
struct RetentionRule {
    std::uint32_t keep = 3;             // newest without a quick fault; at least 2 whatever it says
    std::uint64_t milestone_steps = 0;  // and the oldest in each [n m, (n + 1) m) steps, n from 1; 0: none
    /// Names of those that somebody reads, who does not drive the run; asked anew when one is about to go, and right
    /// after. None: nobody. The run's own workers load while nothing is committed.
    std::function<std::vector<std::string>()> in_use = {};
};

/// Deletes what the rule does not keep; nothing newer than the oldest of the newest ones. Sweeps staging of other
/// saves. Only after a commit. Fault point ckpt.retention.
void apply_retention(const std::filesystem::path& run_dir, const RetentionRule& rule);
void apply_retention(const std::filesystem::path& run_dir, std::uint32_t keep);

/// Records for ever that a checkpoint is good: `healthy_steps` steps after it had a finite loss.
void promote_checkpoint(const std::filesystem::path& run_dir, const CheckpointInfo& checkpoint,
                        std::uint64_t healthy_steps);
/// Pinned: retention never takes it. Any process may pin; CheckpointError when it is gone by then.
void pin_checkpoint(const std::filesystem::path& run_dir, const CheckpointInfo& checkpoint, bool pinned);
std::vector<std::string> promoted_checkpoints(const std::filesystem::path& run_dir);  // names, oldest record first
std::vector<std::string> pinned_checkpoints(const std::filesystem::path& run_dir);    // names

/// Removes what dead attempts left in .staging and .trash; only the lease holder calls it, before the first save.
void sweep_staging(const std::filesystem::path& run_dir);

}  // namespace kiban::checkpoint
