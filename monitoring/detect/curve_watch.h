// SPDX-License-Identifier: Apache-2.0
// All detectors over a run's curve record. Pure: events are a function of the rows alone, so a resumed run gets the
// same ones by showing the surviving rows again (monitoring/README.md). One thread.
//
// Training loss of each step: spike, divergence, level, plateau; gradient norm: spike (of its logarithm); holdout loss
// of each evaluation: level, plateau, and delayed generalisation beside the training loss; holdout accuracy: the mirage
// guard, with the loss as its twin. The level of the training
// loss does not see the first 20 flagged steps of a spike: a short spike is no change of level.
#pragma once

#include <span>
#include <vector>

#include "monitoring/curve.h"
#include "monitoring/detect/event.h"
#include "monitoring/detect/generalisation.h"
#include "monitoring/detect/level.h"
#include "monitoring/detect/mirage.h"
#include "monitoring/detect/plateau.h"
#include "monitoring/detect/spike.h"

namespace kiban::monitoring::detect {

struct CurveState {
    std::uint64_t step = 0;  // of the last row
    std::uint64_t tokens = 0;
    std::uint64_t eval_targets = 0;  // of the holdout; 0: not known
    SpikeState train_spike;
    SpikeState norm_spike;
    LevelState train_level;
    LevelState holdout_level;
    PlateauState train_plateau;
    PlateauState holdout_plateau;
    GeneralisationState generalisation;
    MirageState mirage;
};

/// Steps ascend; a row without an evaluation has NaN as eval_loss and eval_accuracy.
std::vector<Event> observe(CurveState& state, const CurveRow& row);

/// Of a whole record, oldest first.
std::vector<Event> events_of(std::span<const CurveRow> rows);
CurveState state_after(std::span<const CurveRow> rows);

Phase phase_of(const CurveState& state);
/// Of the series that is judged for plateaus: the holdout loss once it was evaluated often enough, else the training
/// loss. NaN before the first window.
double slope_nats_per_doubling(const CurveState& state);
/// Tokens since the plateau began; 0: none.
std::uint64_t plateau_tokens(const CurveState& state);
/// Share of all steps whose training loss was flagged.
double spike_score(const CurveState& state);

}  // namespace kiban::monitoring::detect
