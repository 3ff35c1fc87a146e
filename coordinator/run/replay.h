// SPDX-License-Identifier: Apache-2.0
// The resume certificate: trains some steps again from a checkpoint of the run, beside it, and compares each with the
// run's curve. Proves on this machine, with this run file and these workers, what a resume would do.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/config/run_file.h"
#include "coordinator/protocol/messages.h"
#include "monitoring/curve.h"

namespace kiban::coordinator {

/// What replayed steps have shown so far. Columns: tokens, learning_rate, loss, grad_norm, and eval_loss where both
/// have one.
struct ReplayComparison {
    std::uint64_t steps = 0;
    std::uint64_t equal_steps = 0;                // to the last bit
    double largest_relative_difference = 0;       // of losses
    std::optional<std::string> first_difference;  // "step 12: loss 1.5, recorded 1.25 (attempt 3)"
    bool same_batches = true;                     // tokens and learning rate of every step were equal

    /// `same_world`: the recorded step was computed as this one is, so it must be equal to the last bit.
    void add(const monitoring::CurveRow& recorded, const StepReport& replayed, bool same_world = true);
};

/// What a replay may differ in losses when sums round differently: far above rounding, far below another batch.
inline constexpr double kSampleExactTolerance = 1e-3;

/// Attempts whose first step did not follow exactly from the checkpoint that they loaded, by the journal.
std::set<std::uint32_t> inexact_attempts(const std::vector<nlohmann::json>& journal);

/// Why a resume at this level ("exact" or "sample-exact: reason") would not do what the level says; nullopt: it would.
std::optional<std::string> fault_of(const ReplayComparison& comparison, const std::string& level);

/// The newest of `checkpoints` (steps, newest first) after which the curve has `steps` more rows. CheckpointError
/// naming the largest number of steps that could be replayed when there is none.
std::size_t replayable(const std::vector<std::uint64_t>& checkpoints, const std::vector<monitoring::CurveRow>& rows,
                       std::uint64_t steps);

/// Replays `steps` steps and writes RUN/resume-certificate.json. The run itself is not touched, and may be live.
/// Returns an exit code after saying what was found: 0 certified, 74 when the level does not hold. ConfigError when the
/// run file does not fit the run; CheckpointError when there is nothing to replay.
int verify_resume(const RunFile& run_file, std::uint64_t steps);

}  // namespace kiban::coordinator
