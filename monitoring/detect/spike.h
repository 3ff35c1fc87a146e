// SPDX-License-Identifier: Apache-2.0
// Spikes and divergence of one series (source: B1 of the monitoring design; mean and standard deviation are replaced by
// median and MAD, since a first spike inside their window hides the second). Pure: state x sample -> events; one
// thread.
//
// A value is flagged when it lies more than 6 robust standard deviations above the median of the last 128 values that
// were not flagged, or is not finite. An open spike ends with the first value below 3: "spike_recovered". Still open
// after 200 samples: "spike_lingering". "divergence": flagged 500 samples in a row, or 20 samples in a row above the
// loss at the start after the curve had been clearly below it.
// Delay: 1 sample. False alarms on normal noise: below 1 in a million samples (measured: monitoring/DETECTORS.md).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "monitoring/detect/event.h"
#include "monitoring/detect/robust.h"

namespace kiban::monitoring::detect {

struct SpikeRule {
    Series series = Series::train_loss;
    bool logarithm = false;   // of positive quantities whose noise is a factor, such as norms
    bool divergence = false;  // of losses: what else rises for long is only another regime
};

struct SpikeState {
    static constexpr std::size_t kWindow = 128;
    static constexpr std::size_t kInitial = 5;

    RobustWindow<kWindow> normal;
    std::uint64_t samples = 0;
    std::uint64_t flagged = 0;
    std::uint64_t open_since = 0;    // step; 0: no spike is open
    std::uint64_t open_samples = 0;  // of the open spike, its first included
    std::uint64_t flagged_run = 0;   // samples in a row
    std::uint64_t lingering = 0;     // 1: of the open spike it was said
    std::array<double, kInitial> initial{};
    std::uint64_t initial_count = 0;
    std::uint64_t had_fallen = 0;     // 1: the curve was once clearly below its start
    std::uint64_t above_initial = 0;  // samples in a row
    std::uint64_t below_initial = 0;
    std::uint64_t above_since = 0;
    std::uint64_t diverged = 0;  // 1 until 20 samples in a row are below the loss at the start
};

/// The rule's logarithm has been taken of nothing yet: `sample` holds the series' own value.
std::vector<Event> observe(SpikeState& state, const SpikeRule& rule, const Sample& sample);

/// Whether the last sample was flagged.
inline bool is_flagged(const SpikeState& state) { return state.flagged_run > 0; }

}  // namespace kiban::monitoring::detect
