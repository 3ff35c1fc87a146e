// SPDX-License-Identifier: Apache-2.0
// The mirage guard (B6 of the monitoring design): a jump of a metric that has a threshold in it, such as exact match,
// is only a jump when its continuous twin, such as the log-probability of the answer, jumps too (Schaeffer et al. 2023,
// arXiv 2304.15004). Pure: state x measurement -> event; one thread.
//
// Over the last 24 measurements: the thresholded metric has jumped when the Wilson 95 % intervals (Wilson 1927, JASA
// 22) of its first 8 and last 8, items pooled, lie at least 0.2 apart in their centres and do not touch. The twin has
// jumped when a step between them, added to a parabola, is worth its two parameters by the Bayesian criterion and 10
// more, in the same direction. Both: "jump_up" or "jump_down"; the thresholded alone: "threshold_effect".
// It is judged 8 measurements after the change is first seen, so that both sides of it are in the window. Delay: about
// 10 measurements. After an event the next 24 are learned anew.
#pragma once

#include <array>
#include <cstdint>

#include "monitoring/detect/event.h"

namespace kiban::monitoring::detect {

struct Measurement {
    std::uint64_t step = 0;
    std::uint64_t tokens = 0;
    double thresholded = 0;  // share of the items that passed, 0 to 1
    std::uint64_t items = 0;
    double continuous = 0;  // the twin; larger is better
};

struct MirageState {
    static constexpr std::size_t kWindow = 24;

    std::array<std::uint64_t, kWindow> step{};  // rings
    std::array<double, kWindow> passed{};       // items
    std::array<double, kWindow> items{};
    std::array<double, kWindow> continuous{};
    std::uint64_t seen = 0;     // since the last event
    std::uint64_t waiting = 0;  // measurements until a change that was seen is judged; 0: none was seen
};

MaybeEvent observe(MirageState& state, const Measurement& measurement);

}  // namespace kiban::monitoring::detect
