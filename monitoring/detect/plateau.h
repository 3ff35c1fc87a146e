// SPDX-License-Identifier: Apache-2.0
// Plateaus of one series (B4 of the monitoring design): a stretch on which the slope is shown to be small. It is not a
// verdict: abilities come late and suddenly, so a plateau says nothing of what comes. Pure: state x sample -> event;
// one thread.
//
// Samples are averaged in blocks of at least 1/64 doubling of tokens; a window is the newest blocks that span 0.5
// doublings and are at least 20. Its slope in nats per doubling is Theil-Sen's with Sen's 95 % interval. Entered when
// the interval lies inside +-kPlateauSlope in 3 windows, each 1/8 doubling after the one before; left after 2 that do
// not. A noisy curve has a wide interval and no plateau: the event tells the power to see a slope of kPlateauSlope.
// Delay: half a doubling of tokens for the window and a quarter for the repetition.
#pragma once

#include <array>
#include <cstdint>

#include "monitoring/detect/event.h"

namespace kiban::monitoring::detect {

inline constexpr double kPlateauSlope = 0.01;  // nats per doubling of tokens

struct PlateauState {
    static constexpr std::size_t kBlocks = 40;  // 0.5 doublings of blocks of 1/64, and 20 of wider ones

    std::array<double, kBlocks> x{};  // ring: mean log2(tokens) of a block
    std::array<double, kBlocks> y{};
    std::array<std::uint64_t, kBlocks> step{};    // first of the block
    std::array<std::uint64_t, kBlocks> tokens{};  // at that step
    std::uint64_t blocks = 0;                     // ever closed

    double sum_x = 0;  // of the open block
    double sum_y = 0;
    double begin_x = 0;
    std::uint64_t open_count = 0;
    std::uint64_t open_step = 0;
    std::uint64_t open_tokens = 0;

    double tested_x = 0;      // at the last window
    std::uint64_t tests = 0;  // windows so far
    double slope = 0;         // of the last window
    double low = 0;
    double high = 0;
    std::uint64_t inside = 0;   // windows in a row
    std::uint64_t outside = 0;  // likewise
    std::uint64_t first_inside_step = 0;
    std::uint64_t first_inside_tokens = 0;
    std::uint64_t since_step = 0;  // 0: no plateau
    std::uint64_t since_tokens = 0;
};

/// Values that are not finite are passed over.
MaybeEvent observe(PlateauState& state, Series series, const Sample& sample);

inline bool in_plateau(const PlateauState& state) { return state.since_step != 0; }

}  // namespace kiban::monitoring::detect
