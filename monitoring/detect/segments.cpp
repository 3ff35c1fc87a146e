// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/segments.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>

#include "monitoring/detect/robust.h"
#include "monitoring/error.h"

namespace kiban::monitoring::detect {
namespace {

constexpr std::size_t kMostBlocks = 4000;

// Running sums, so that the squares of any segment cost a few operations. Both axes are centred first: sums of squares
// of values far from 0 would lose the digits that matter.
class Sums {
  public:
    Sums(std::span<const double> x, std::span<const double> y, SegmentCost cost) : cost_(cost) {
        const double middle_y = y.empty() ? 0 : mean(y);
        const double middle_x = x.empty() ? 0 : mean(x);
        for (auto* sums : {&y_, &yy_, &x_, &xx_, &xy_}) sums->assign(y.size() + 1, 0);
        for (std::size_t i = 0; i < y.size(); ++i) {
            const double v = y[i] - middle_y;
            const double u = cost == SegmentCost::line ? x[i] - middle_x : 0;
            y_[i + 1] = y_[i] + v;
            yy_[i + 1] = yy_[i] + v * v;
            x_[i + 1] = x_[i] + u;
            xx_[i + 1] = xx_[i] + u * u;
            xy_[i + 1] = xy_[i] + u * v;
        }
    }

    /// Squares left of [begin, end).
    double squares(std::size_t begin, std::size_t end) const {
        const auto n = static_cast<double>(end - begin);
        const double y = y_[end] - y_[begin];
        const double level = yy_[end] - yy_[begin] - y * y / n;
        if (cost_ == SegmentCost::level) return std::max(level, 0.0);
        const double x = x_[end] - x_[begin];
        const double xx = xx_[end] - xx_[begin] - x * x / n;
        const double xy = xy_[end] - xy_[begin] - x * y / n;
        return std::max(xx > 0 ? level - xy * xy / xx : level, 0.0);
    }

  private:
    static double mean(std::span<const double> values) {
        double sum = 0;
        for (const double value : values) sum += value;
        return sum / static_cast<double>(values.size());
    }

    SegmentCost cost_;
    std::vector<double> y_, yy_, x_, xx_, xy_;
};

struct Candidate {
    std::size_t begin = 0;      // of the last segment
    double cost = 0;            // of the best segmentation that ends with it, without its own penalty
    std::size_t pruned_at = 0;  // end from which a later begin is never worse; 0: none known
};

// Marks candidates that cannot win once a segment may begin at `end`, and drops those whose time has come: with a
// shortest segment, a begin at `end` is of use only kShortestSegment points later.
void prune(std::vector<Candidate>& candidates, double best, std::size_t end) {
    for (Candidate& candidate : candidates) {
        if (candidate.pruned_at == 0 && candidate.cost >= best) candidate.pruned_at = end;
    }
    std::erase_if(candidates, [&](const Candidate& candidate) {
        return candidate.pruned_at != 0 && candidate.pruned_at + kShortestSegment <= end + 1;
    });
}

std::vector<std::size_t> begins_of(const std::vector<std::size_t>& previous, std::size_t n) {
    std::vector<std::size_t> begins;
    for (std::size_t end = n; end > 0; end = previous[end]) begins.push_back(previous[end]);
    std::reverse(begins.begin(), begins.end());
    return begins;
}

struct Blocks {
    std::vector<double> x;  // mean log2(tokens)
    std::vector<double> y;  // mean loss
    std::vector<std::uint64_t> first_step;
    std::vector<std::uint64_t> last_step;
};

Blocks blocks_of(std::span<const CurveRow> rows) {
    Blocks blocks;
    const std::size_t width = rows.size() / kMostBlocks + 1;
    for (std::size_t begin = 0; begin < rows.size(); begin += width) {
        double x = 0;
        double y = 0;
        double count = 0;
        const auto block = rows.subspan(begin, std::min(width, rows.size() - begin));
        for (const CurveRow& row : block) {
            if (!std::isfinite(row.loss) || row.tokens == 0) continue;
            x += std::log2(static_cast<double>(row.tokens));
            y += row.loss;
            ++count;
        }
        if (count == 0) continue;
        blocks.x.push_back(x / count);
        blocks.y.push_back(y / count);
        blocks.first_step.push_back(block.front().step);
        blocks.last_step.push_back(block.back().step);
    }
    return blocks;
}

}  // namespace

Segmentation segment(std::span<const double> x, std::span<const double> y, SegmentCost cost, double penalty) {
    KIBAN_CHECK(penalty >= 0 && (cost == SegmentCost::level || x.size() == y.size()), "{} values over {} places",
                y.size(), x.size());
    const std::size_t n = y.size();
    if (n == 0) return {};
    const Sums sums(x, y, cost);
    if (n < 2 * kShortestSegment) return {.begins = {0}, .cost = sums.squares(0, n)};
    std::vector<double> best(n + 1, std::numeric_limits<double>::infinity());  // of the first so many points
    std::vector<std::size_t> previous(n + 1, 0);
    std::vector<Candidate> candidates = {{}};
    best[0] = -penalty;  // the first segment is no change
    for (std::size_t end = kShortestSegment; end <= n; ++end) {
        const std::size_t latest = end - kShortestSegment;
        if (latest >= kShortestSegment) candidates.push_back({.begin = latest});
        for (Candidate& candidate : candidates) {
            candidate.cost = best[candidate.begin] + sums.squares(candidate.begin, end);
            if (candidate.cost + penalty >= best[end]) continue;
            best[end] = candidate.cost + penalty;
            previous[end] = candidate.begin;
        }
        prune(candidates, best[end], end);
    }
    return {.begins = begins_of(previous, n), .cost = best[n]};
}

double penalty_of(std::span<const double> y, SegmentCost cost) {
    const double sigma = noise_of(y);
    const double factor = cost == SegmentCost::level ? 3 : 4.5;
    return factor * sigma * sigma * std::log(std::max<double>(static_cast<double>(y.size()), 2));
}

std::vector<CurveSegment> segments_of(std::span<const CurveRow> rows) {
    const Blocks blocks = blocks_of(rows);
    const Segmentation found = segment(blocks.x, blocks.y, SegmentCost::line, penalty_of(blocks.y, SegmentCost::line));
    std::vector<CurveSegment> segments;
    for (std::size_t i = 0; i < found.begins.size(); ++i) {
        const std::size_t begin = found.begins[i];
        const std::size_t end = i + 1 < found.begins.size() ? found.begins[i + 1] : blocks.y.size();
        const auto x = std::span(blocks.x).subspan(begin, end - begin);
        const bool a_line = end - begin > 1;
        const Line line = a_line ? huber_line(x, std::span(blocks.y).subspan(begin, end - begin))
                                 : Line{.intercept = blocks.y[begin], .slope = 0};
        segments.push_back({.from_step = blocks.first_step[begin],
                            .to_step = blocks.last_step[end - 1],
                            .begin_loss = line.at(x.front()),
                            .end_loss = line.at(x.back()),
                            .nats_per_doubling = line.slope});
    }
    return segments;
}

void write_segments(std::ostream& out, const std::vector<CurveSegment>& segments) {
    out << "from_step,to_step,begin_loss,end_loss,nats_per_doubling\n";
    for (const CurveSegment& segment : segments) {
        out << fmt::format("{},{},{:.6g},{:.6g},{:.4g}\n", segment.from_step, segment.to_step, segment.begin_loss,
                           segment.end_loss, segment.nats_per_doubling);
    }
}

}  // namespace kiban::monitoring::detect
