// SPDX-License-Identifier: Apache-2.0
// Offline segmentation of a series: the exact optimum of PELT (Killick, Fearnhead and Eckley 2012, JASA 107, 1590-1598)
// for a penalised sum of squares around means or lines. Pure functions; any thread.
//
// Costs of a segment: squares around its mean (level), or around its least-squares line over x (line). Penalty of a
// change: 3 sigma^2 ln n for level, 4.5 sigma^2 ln n for line (two and three parameters: place, and mean or line), with
// sigma from first differences, so neighbouring values must have independent noise. Segments are at least 5 points.
// Time: linear in n where changes come regularly, quadratic where there is none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <span>
#include <vector>

#include "monitoring/curve.h"

namespace kiban::monitoring::detect {

enum class SegmentCost { level, line };

inline constexpr std::size_t kShortestSegment = 5;

struct Segmentation {
    std::vector<std::size_t> begins;  // first index of each segment, ascending, the first is 0
    double cost = 0;                  // squares of all segments and the penalties of all changes
};
/// The best segmentation under `penalty` >= 0 a change. x ascending (ignored for level); fewer than 10 points are one
/// segment.
Segmentation segment(std::span<const double> x, std::span<const double> y, SegmentCost cost, double penalty);
double penalty_of(std::span<const double> y, SegmentCost cost);

/// A stretch of a learning curve on which loss falls along a line over log2(tokens).
struct CurveSegment {
    std::uint64_t from_step = 0;  // both included
    std::uint64_t to_step = 0;
    double begin_loss = 0;  // of the line, at both ends
    double end_loss = 0;
    double nats_per_doubling = 0;
};
/// Of the training loss, averaged in at most 4000 blocks of equal numbers of steps; values that are not finite are left
/// out.
std::vector<CurveSegment> segments_of(std::span<const CurveRow> rows);
/// CSV: from_step,to_step,begin_loss,end_loss,nats_per_doubling; a header line.
void write_segments(std::ostream& out, const std::vector<CurveSegment>& segments);

}  // namespace kiban::monitoring::detect
