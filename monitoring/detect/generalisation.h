// SPDX-License-Identifier: Apache-2.0
// Delayed generalisation ("grokking"; Power et al. 2022, arXiv 2201.02177): the training set is known by heart long
// before the holdout is understood (B5 of the monitoring design). Pure: state x evaluation -> event; one thread.
//
// learning -> memorised: training accuracy >= 0.99 or, where none is known, loss < 0.05 nats, in 3 evaluations in a
// row, while the holdout's accuracy is < 0.5 or its loss more than 1 nat above. -> early_sign: holdout loss < 0.9 of
// its largest since then, 3 times in a row, and the norm of the parameters, where known, past its peak: an indicator,
// whose rate of false alarms is not known. -> generalised: holdout accuracy >= 0.9 or gap <= 0.25 nats, 3 times in a
// row; told as "grokking" when that took at least 3 times the steps of memorising. Delay: 3 evaluations.
#pragma once

#include <cstdint>
#include <limits>

#include "monitoring/detect/event.h"

namespace kiban::monitoring::detect {

/// What is known at one evaluation; NaN: not measured.
struct Evaluation {
    std::uint64_t step = 0;
    std::uint64_t tokens = 0;
    double train_loss = 0;    // nats
    double holdout_loss = 0;  // nats
    double train_accuracy = std::numeric_limits<double>::quiet_NaN();
    double holdout_accuracy = std::numeric_limits<double>::quiet_NaN();
    double parameter_norm = std::numeric_limits<double>::quiet_NaN();
};

struct GeneralisationState {
    enum Stage : std::uint64_t { learning, memorised, early_sign, generalised };

    std::uint64_t stage = learning;
    std::uint64_t known_run = 0;  // evaluations in a row at which the training set was known
    std::uint64_t known_since = 0;
    std::uint64_t memorised_step = 0;  // at which that had been so 3 times; 0: not yet
    std::uint64_t generalised_run = 0;
    std::uint64_t generalised_since = 0;
    std::uint64_t falling_run = 0;
    double largest_holdout_loss = 0;
    double largest_norm = 0;
    double delay_ratio = 0;  // step of generalising / step of memorising; 0: not yet both
};

MaybeEvent observe(GeneralisationState& state, const Evaluation& evaluation);

}  // namespace kiban::monitoring::detect
