// SPDX-License-Identifier: Apache-2.0
// Line plots as SVG text, for the report. Private to monitoring/.
//
// A pixel column of a long curve keeps its smallest, largest and mean value, so that a spike of one step stays visible
// at any length. Pure functions; any thread. Colours come from the page's style: class `run-K` for colour K.
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace kiban::monitoring {

struct PlotPoint {
    double x = 0;
    double y = 0;  // a value that is not finite is drawn as a mark at the upper edge
};

struct PlotSeries {
    enum class Style { kCurve, kMarked };  // a thin line over its range; a strong line with a dot for each value

    std::string name;
    std::size_t color = 0;
    Style style = Style::kCurve;
    std::vector<PlotPoint> points;  // x ascending
};

/// A small mark on the lower edge, whose text shows under the pointer.
struct PlotMark {
    double x = 0;
    bool alarm = false;  // in the colour of alarms
    std::string text;
};

struct Plot {
    std::string title;
    std::string unit;
    std::vector<PlotSeries> series;
    std::vector<double> rules;  // x of thin vertical lines
    std::vector<PlotMark> marks;
    int width = 520;  // of the view box
    int height = 260;
    bool log_y = false;
};

/// One <svg> element. A plot without a finite value says so in words.
std::string plot_svg(const Plot& plot);

/// One bucket of a down-sampled curve; `x` and `mean` stand for the points between.
struct PlotBucket {
    double x = 0;
    double mean = 0;
    double low = std::numeric_limits<double>::infinity();
    double high = -std::numeric_limits<double>::infinity();
    std::size_t count = 0;
};

/// At most `buckets` of them, equally wide in x; points that are not finite are left out.
std::vector<PlotBucket> down_sample(const std::vector<PlotPoint>& points, std::size_t buckets);

/// Round numbers inside [low, high], about `count` of them.
std::vector<double> linear_ticks(double low, double high, int count);
/// 1, or 1 2 5 when few decades are covered, times powers of ten inside [low, high].
std::vector<double> log_ticks(double low, double high);

/// 12500 as "12.5k", 0.0003 as "0.0003".
std::string short_number(double value);

/// Text for element content and for attribute values.
std::string escape_html(std::string_view text);

}  // namespace kiban::monitoring
