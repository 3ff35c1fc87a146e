// SPDX-License-Identifier: Apache-2.0
// What a coordinator does about its run's checkpoints besides saving: promotes those that training has proven good,
// rejects those that the background scrub finds damaged, restores a curve record from a checkpoint. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/commit.h"
#include "checkpoint/config.h"
#include "checkpoint/scrub.h"
#include "coordinator/run/board.h"
#include "coordinator/run/run_directory.h"
#include "monitoring/curve.h"

namespace kiban::coordinator {

/// Whether the `count` steps after `step` are all in the rows (ascending) with a finite loss and gradient norm.
bool healthy_after(std::span<const monitoring::CurveRow> rows, std::uint64_t step, std::uint64_t count);

struct CurveRestoration {
    bool restored = false;
    std::string reason;  // empty: the record needs nothing. Not restored: those steps are lost to the record
};
/// Replaces the curve record by the one in the checkpoint when it is missing, damaged or ends before the checkpoint's
/// step. IoError when the record cannot be read now, or is damaged and the checkpoint has no sound one.
CurveRestoration restore_curve(const RunDirectory& directory, const checkpoint::CheckpointInfo& from);

/// checkpoint::newest_checkpoint(); the damaged ones that it passes over are told in journal and metrics.
std::optional<checkpoint::CheckpointInfo> checkpoint_to_load(const RunDirectory& directory, Board& board);

class Upkeep {
  public:
    Upkeep(const RunDirectory& directory, const checkpoint::CheckpointConfig& config, Board& board);

    /// About once a second, with the run's curve so far. What a disk refuses is logged: training goes on.
    void tick(std::span<const monitoring::CurveRow> rows);
    /// Steps of the surviving history that were refused: no checkpoint counts them among the healthy ones after it.
    void set_refused_steps(std::vector<std::uint64_t> steps) { refused_ = std::move(steps); }
    /// Whether a checkpoint was rejected since the last call.
    bool take_rejected() { return std::exchange(rejected_, false); }

  private:
    void promote(std::span<const monitoring::CurveRow> rows);
    void reject_rotten();
    void note_pass();

    const RunDirectory& directory_;
    checkpoint::CheckpointConfig config_;
    Board& board_;
    checkpoint::Scrub scrub_;
    std::uint64_t scrubbed_bytes_ = 0;    // that the metric has
    std::uint64_t seen_step_ = 0;         // of the curve at the last look
    std::uint64_t passes_ = 0;            // of the scrub that are written down
    std::vector<std::uint64_t> refused_;  // steps
    bool rejected_ = false;
};

}  // namespace kiban::coordinator
