// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/curve_watch.h"

#include <cmath>
#include <limits>
#include <utility>

namespace kiban::monitoring::detect {
namespace {

constexpr SpikeRule kLossRule = {.series = Series::train_loss, .logarithm = false, .divergence = true};
constexpr SpikeRule kNormRule = {.series = Series::grad_norm, .logarithm = true, .divergence = false};
constexpr std::uint64_t kShortSpike = 20;  // samples

void add(std::vector<Event>& events, std::vector<Event> more) {
    for (Event& event : more) events.push_back(std::move(event));
}

void add(std::vector<Event>& events, MaybeEvent event) {
    if (event) events.push_back(std::move(*event));
}

const PlateauState& judged(const CurveState& state) {
    return state.holdout_plateau.tests > 0 ? state.holdout_plateau : state.train_plateau;
}

// Losses of another holdout are no measure for those of this one: a source was added, or documents were forgotten.
void begin_holdout(CurveState& state, std::uint64_t targets) {
    if (targets == 0) return;  // not known
    if (state.eval_targets != 0 && state.eval_targets != targets) {
        state.holdout_level = {};
        state.holdout_plateau = {};
        state.generalisation = {};
        state.mirage = {};
    }
    state.eval_targets = targets;
}

}  // namespace

std::vector<Event> observe(CurveState& state, const CurveRow& row) {
    state.step = row.step;
    state.tokens = row.tokens;
    std::vector<Event> events;
    if (without_targets(row)) return events;  // nothing was measured
    const Sample loss = {row.step, row.tokens, row.loss};
    add(events, observe(state.train_spike, kLossRule, loss));
    add(events, observe(state.norm_spike, kNormRule, {row.step, row.tokens, row.grad_norm}));
    const bool in_short_spike = is_flagged(state.train_spike) && state.train_spike.open_samples <= kShortSpike;
    if (!in_short_spike) add(events, observe(state.train_level, Series::train_loss, loss));
    add(events, observe(state.train_plateau, Series::train_loss, loss));
    if (std::isnan(row.eval_loss)) return events;
    begin_holdout(state, row.eval_targets);
    const Sample holdout = {row.step, row.tokens, row.eval_loss};
    add(events, observe(state.holdout_level, Series::holdout_loss, holdout));
    add(events, observe(state.holdout_plateau, Series::holdout_loss, holdout));
    add(events,
        observe(
            state.generalisation,
            Evaluation{.step = row.step, .tokens = row.tokens, .train_loss = row.loss, .holdout_loss = row.eval_loss}));
    add(events, observe(state.mirage, Measurement{.step = row.step,
                                                  .tokens = row.tokens,
                                                  .thresholded = row.eval_accuracy,
                                                  .items = row.eval_targets,
                                                  .continuous = -row.eval_loss}));
    return events;
}

std::vector<Event> events_of(std::span<const CurveRow> rows) {
    CurveState state;
    std::vector<Event> events;
    for (const CurveRow& row : rows) add(events, observe(state, row));
    return events;
}

CurveState state_after(std::span<const CurveRow> rows) {
    CurveState state;
    for (const CurveRow& row : rows) observe(state, row);
    return state;
}

Phase phase_of(const CurveState& state) {
    if (state.train_spike.diverged != 0) return Phase::diverging;
    if (state.generalisation.stage == GeneralisationState::memorised) return Phase::memorised;
    if (state.generalisation.stage == GeneralisationState::early_sign) return Phase::early_sign;
    return in_plateau(judged(state)) ? Phase::plateau : Phase::learning;
}

double slope_nats_per_doubling(const CurveState& state) {
    const PlateauState& plateau = judged(state);
    return plateau.tests > 0 ? plateau.slope : std::numeric_limits<double>::quiet_NaN();
}

std::uint64_t plateau_tokens(const CurveState& state) {
    const PlateauState& plateau = judged(state);
    return in_plateau(plateau) ? state.tokens - plateau.since_tokens : 0;
}

double spike_score(const CurveState& state) {
    if (state.train_spike.samples == 0) return 0;
    return static_cast<double>(state.train_spike.flagged) / static_cast<double>(state.train_spike.samples);
}

}  // namespace kiban::monitoring::detect
