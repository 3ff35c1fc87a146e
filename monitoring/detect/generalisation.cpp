// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/generalisation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace kiban::monitoring::detect {
namespace {

constexpr std::uint64_t kInARow = 3;
constexpr double kKnownAccuracy = 0.99;
constexpr double kKnownLoss = 0.05;
constexpr double kUnderstoodAccuracy = 0.9;
constexpr double kUnderstoodGap = 0.25;
constexpr double kNotUnderstoodAccuracy = 0.5;
constexpr double kNotUnderstoodGap = 1;
constexpr double kFalling = 0.9;
constexpr double kDelayed = 3;

bool knows_training_set(const Evaluation& at) {
    return std::isnan(at.train_accuracy) ? at.train_loss < kKnownLoss : at.train_accuracy >= kKnownAccuracy;
}

bool understands_holdout(const Evaluation& at) {
    return std::isnan(at.holdout_accuracy) ? at.holdout_loss - at.train_loss <= kUnderstoodGap
                                           : at.holdout_accuracy >= kUnderstoodAccuracy;
}

bool does_not_understand(const Evaluation& at) {
    return std::isnan(at.holdout_accuracy) ? at.holdout_loss - at.train_loss > kNotUnderstoodGap
                                           : at.holdout_accuracy < kNotUnderstoodAccuracy;
}

void note_sign(GeneralisationState& state, const Evaluation& at) {
    state.largest_holdout_loss = std::max(state.largest_holdout_loss, at.holdout_loss);
    const bool past_peak = std::isnan(at.parameter_norm) || at.parameter_norm < state.largest_norm;
    const bool falling = at.holdout_loss < kFalling * state.largest_holdout_loss && past_peak;
    state.falling_run = falling ? state.falling_run + 1 : 0;
    if (state.falling_run >= kInARow) state.stage = GeneralisationState::early_sign;
}

MaybeEvent generalise(GeneralisationState& state, const Evaluation& at) {
    state.stage = GeneralisationState::generalised;
    state.delay_ratio = static_cast<double>(state.generalised_since) / static_cast<double>(state.memorised_step);
    if (state.delay_ratio < kDelayed) return std::nullopt;
    return Event{.kind = EventKind::grokking,
                 .series = Series::holdout_loss,
                 .step = at.step,
                 .tokens = at.tokens,
                 .since_step = state.generalised_since,
                 .value = at.holdout_loss,
                 .size = state.delay_ratio,
                 .detail = fmt::format("generalised {:.1f} times as late as the training set was known (step {})",
                                       state.delay_ratio, state.memorised_step)};
}

}  // namespace

MaybeEvent observe(GeneralisationState& state, const Evaluation& at) {
    if (!std::isfinite(at.train_loss) || !std::isfinite(at.holdout_loss)) return std::nullopt;
    if (!std::isnan(at.parameter_norm)) state.largest_norm = std::max(state.largest_norm, at.parameter_norm);
    const bool known = knows_training_set(at);
    if (known && state.known_run == 0) state.known_since = at.step;
    state.known_run = known ? state.known_run + 1 : 0;
    if (state.memorised_step == 0 && state.known_run >= kInARow) state.memorised_step = state.known_since;
    const bool understood = understands_holdout(at);
    if (understood && state.generalised_run == 0) state.generalised_since = at.step;
    state.generalised_run = understood ? state.generalised_run + 1 : 0;

    if (state.stage == GeneralisationState::generalised || state.memorised_step == 0) return std::nullopt;
    if (state.generalised_run >= kInARow) return generalise(state, at);
    if (state.stage == GeneralisationState::learning && does_not_understand(at))
        state.stage = GeneralisationState::memorised;
    if (state.stage == GeneralisationState::memorised) note_sign(state, at);
    return std::nullopt;
}

}  // namespace kiban::monitoring::detect
