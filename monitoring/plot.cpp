// SPDX-License-Identifier: Apache-2.0
#include "monitoring/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>

namespace kiban::monitoring {
namespace {

constexpr int kLeft = 58;
constexpr int kRight = 14;
constexpr int kTop = 12;
constexpr int kBottom = 28;
constexpr double kPixelsPerBucket = 1.5;
constexpr std::size_t kMaxMarks = 200;

// Maps values of one axis to pixels.
struct Axis {
    double low = 0;
    double high = 1;
    bool log = false;
    double from_pixel = 0;
    double to_pixel = 1;

    double pixel(double value) const {
        const double begin = log ? std::log10(low) : low;
        const double end = log ? std::log10(high) : high;
        const double at = log ? std::log10(value) : value;
        return from_pixel + (at - begin) / (end - begin) * (to_pixel - from_pixel);
    }
};

struct Range {
    double low = std::numeric_limits<double>::infinity();
    double high = -std::numeric_limits<double>::infinity();

    void include(double value, bool log) {
        if (!std::isfinite(value) || (log && value <= 0)) return;
        low = std::min(low, value);
        high = std::max(high, value);
    }

    bool empty() const { return low > high; }
};

struct Frame {
    Axis x;
    Axis y;
};

void widen(Axis& axis, double margin) {
    if (axis.log) {
        const double factor = std::pow(axis.high / axis.low, margin);
        axis.low /= axis.high > axis.low ? factor : 2;
        axis.high *= axis.high > axis.low * 2 ? factor : 2;
        return;
    }
    double span = axis.high - axis.low;
    if (span <= 0) span = std::max(std::abs(axis.high), 1e-9) / margin / 10;
    axis.low -= span * margin;
    axis.high += span * margin;
}

std::optional<Frame> frame_of(const Plot& plot) {
    Range x;
    Range y;
    for (const PlotSeries& series : plot.series) {
        for (const PlotPoint& point : series.points) {
            x.include(point.x, false);
            y.include(point.y, plot.log_y);
        }
    }
    if (x.empty() || y.empty()) return std::nullopt;
    Frame frame;
    frame.x = {x.low, x.high, false, kLeft, static_cast<double>(plot.width - kRight)};
    frame.y = {y.low, y.high, plot.log_y, static_cast<double>(plot.height - kBottom), kTop};
    if (frame.x.high <= frame.x.low) frame.x.high = frame.x.low + 1;
    const bool starts_at_zero = !plot.log_y && y.low >= 0 && y.low < 0.15 * y.high;
    widen(frame.y, 0.05);
    if (starts_at_zero) frame.y.low = 0;
    return frame;
}

using Buffer = fmt::memory_buffer;

template <typename... Args>
void emit(Buffer& out, fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

void draw_axes(Buffer& out, const Plot& plot, const Frame& frame) {
    const int right = plot.width - kRight;
    const int bottom = plot.height - kBottom;
    const auto y_ticks = plot.log_y ? log_ticks(frame.y.low, frame.y.high) : linear_ticks(frame.y.low, frame.y.high, 5);
    for (const double tick : y_ticks) {
        const double at = frame.y.pixel(tick);
        emit(out, "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>", kLeft, right, at, at);
        emit(out, "<text class=\"tick\" x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", kLeft - 8, at + 4,
             short_number(tick));
    }
    for (const double tick : linear_ticks(frame.x.low, frame.x.high, plot.width / 90)) {
        const double at = frame.x.pixel(tick);
        emit(out, "<line class=\"mark\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{}\" y2=\"{}\"/>", at, at, bottom, bottom + 4);
        emit(out, "<text class=\"tick\" x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", at, bottom + 18,
             short_number(tick));
    }
    emit(out, "<line class=\"axis\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>\n", kLeft, right, bottom, bottom);
    for (std::size_t i = 0; i < std::min(plot.rules.size(), kMaxMarks); ++i) {
        if (plot.rules[i] < frame.x.low || plot.rules[i] > frame.x.high) continue;
        const double at = frame.x.pixel(plot.rules[i]);
        emit(out, "<line class=\"rule\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{}\" y2=\"{}\"/>\n", at, at, kTop, bottom);
    }
}

void draw_marks(Buffer& out, const Plot& plot, const Frame& frame) {
    const int bottom = plot.height - kBottom;
    std::size_t drawn = 0;
    for (const PlotMark& mark : plot.marks) {
        if (mark.x < frame.x.low || mark.x > frame.x.high || ++drawn > kMaxMarks) continue;
        emit(out, "<path class=\"{}\" d=\"M{:.1f} {}l4 7h-8z\"><title>{}</title></path>\n",
             mark.alarm ? "alarm" : "event", frame.x.pixel(mark.x), bottom - 8, escape_html(mark.text));
    }
}

void draw_band(Buffer& out, const std::vector<PlotBucket>& buckets, const Frame& frame) {
    if (std::none_of(buckets.begin(), buckets.end(),
                     [](const PlotBucket& bucket) { return bucket.low < bucket.high; })) {
        return;
    }
    emit(out, "<path class=\"band\" d=\"");
    char command = 'M';
    for (const PlotBucket& bucket : buckets) {
        emit(out, "{}{:.1f} {:.1f}", command, frame.x.pixel(bucket.x), frame.y.pixel(bucket.high));
        command = 'L';
    }
    for (auto bucket = buckets.rbegin(); bucket != buckets.rend(); ++bucket) {
        emit(out, "L{:.1f} {:.1f}", frame.x.pixel(bucket->x), frame.y.pixel(bucket->low));
    }
    emit(out, "Z\"/>\n");
}

void draw_line(Buffer& out, const std::vector<PlotBucket>& buckets, const Frame& frame) {
    emit(out, "<path class=\"line\" d=\"");
    char command = 'M';
    for (const PlotBucket& bucket : buckets) {
        emit(out, "{}{:.1f} {:.1f}", command, frame.x.pixel(bucket.x), frame.y.pixel(bucket.mean));
        command = 'L';
    }
    emit(out, "\"/>\n");
    // A single value has no line to be seen by.
    if (buckets.size() == 1) {
        emit(out, "<circle class=\"dot\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"/>\n", frame.x.pixel(buckets[0].x),
             frame.y.pixel(buckets[0].mean));
    }
}

void draw_not_finite(Buffer& out, const PlotSeries& series, const Frame& frame) {
    std::size_t marks = 0;
    for (const PlotPoint& point : series.points) {
        if (std::isfinite(point.y) || point.x < frame.x.low || ++marks > kMaxMarks) continue;
        const double at = frame.x.pixel(point.x);
        emit(out, "<path class=\"alarm\" d=\"M{:.1f} {}l4 -7h-8z\"><title>not finite at step {}</title></path>\n", at,
             kTop + 7, point.x);
    }
}

void draw_series(Buffer& out, const Plot& plot, const PlotSeries& series, const Frame& frame) {
    const bool marked = series.style == PlotSeries::Style::kMarked;
    std::vector<PlotPoint> drawable;
    std::copy_if(series.points.begin(), series.points.end(), std::back_inserter(drawable),
                 [&](const PlotPoint& point) { return !plot.log_y || point.y > 0; });
    const auto columns = static_cast<std::size_t>((plot.width - kLeft - kRight) / kPixelsPerBucket);
    const auto buckets = down_sample(drawable, columns);
    emit(out, "<g class=\"series {} run-{}\" data-name=\"{}\">\n", marked ? "marked" : "curve", series.color,
         escape_html(series.name));
    draw_band(out, buckets, frame);
    if (!buckets.empty()) draw_line(out, buckets, frame);
    if (marked && buckets.size() <= kMaxMarks) {
        for (const PlotBucket& bucket : buckets) {
            emit(out, "<circle class=\"dot\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"/>", frame.x.pixel(bucket.x),
                 frame.y.pixel(bucket.mean));
        }
    }
    draw_not_finite(out, series, frame);
    emit(out, "</g>\n");
}

}  // namespace

std::string plot_svg(const Plot& plot) {
    Buffer out;
    emit(out, "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n", plot.width, plot.height,
         escape_html(plot.title));
    if (const auto frame = frame_of(plot)) {
        draw_axes(out, plot, *frame);
        // Strong lines lie over thin ones.
        for (const auto style : {PlotSeries::Style::kCurve, PlotSeries::Style::kMarked}) {
            for (const PlotSeries& series : plot.series) {
                if (series.style == style) draw_series(out, plot, series, *frame);
            }
        }
        draw_marks(out, plot, *frame);
    } else {
        emit(out, "<text class=\"empty\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">nothing recorded yet</text>\n",
             plot.width / 2, plot.height / 2);
    }
    emit(out, "</svg>\n");
    return fmt::to_string(out);
}

std::vector<PlotBucket> down_sample(const std::vector<PlotPoint>& points, std::size_t buckets) {
    std::vector<PlotBucket> out;
    if (points.empty() || buckets == 0) return out;
    const double begin = points.front().x;
    const double span = std::max(points.back().x - begin, std::numeric_limits<double>::min());
    std::size_t current = buckets;  // none yet
    for (const PlotPoint& point : points) {
        if (!std::isfinite(point.y)) continue;
        const double share = (point.x - begin) / span;
        const auto index = std::min(static_cast<std::size_t>(share * static_cast<double>(buckets)), buckets - 1);
        if (index != current) out.emplace_back();
        current = index;
        PlotBucket& bucket = out.back();
        ++bucket.count;
        const auto count = static_cast<double>(bucket.count);
        bucket.x += (point.x - bucket.x) / count;
        bucket.mean += (point.y - bucket.mean) / count;
        bucket.low = std::min(bucket.low, point.y);
        bucket.high = std::max(bucket.high, point.y);
    }
    return out;
}

std::vector<double> linear_ticks(double low, double high, int count) {
    std::vector<double> ticks;
    const double rough = (high - low) / std::max(count, 1);
    if (!(rough > 0) || !std::isfinite(rough)) return ticks;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    const double fraction = rough / power * (1 - 1e-9);  // 0.5 that came out as 0.5000000000000001
    const double step = power * (fraction <= 1 ? 1 : fraction <= 2 ? 2 : fraction <= 5 ? 5 : 10);
    for (double index = std::ceil(low / step - 1e-9); index * step <= high + step * 1e-9; ++index) {
        ticks.push_back(index * step + 0.0);  // no "-0"
    }
    return ticks;
}

std::vector<double> log_ticks(double low, double high) {
    std::vector<double> ticks;
    if (!(low > 0) || !std::isfinite(high)) return ticks;
    const bool few_decades = std::log10(high / low) < 2.5;
    for (double power = std::floor(std::log10(low)); power <= std::log10(high); ++power) {
        for (const double digit : {1.0, 2.0, 5.0}) {
            const double value = digit * std::pow(10, power);
            if ((digit == 1 || few_decades) && value >= low && value <= high) ticks.push_back(value);
        }
    }
    return ticks;
}

std::string short_number(double value) {
    const double size = std::abs(value);
    if (size >= 1e12) return fmt::format("{:.4g}T", value / 1e12);
    if (size >= 1e9) return fmt::format("{:.4g}G", value / 1e9);
    if (size >= 1e6) return fmt::format("{:.4g}M", value / 1e6);
    if (size >= 1e3) return fmt::format("{:.4g}k", value / 1e3);
    return fmt::format("{:.4g}", value);
}

std::string escape_html(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (const char character : text) {
        switch (character) {
            case '&': out += "&amp;"; break;
            case '<': out += "&lt;"; break;
            case '>': out += "&gt;"; break;
            case '"': out += "&quot;"; break;
            case '\'': out += "&#39;"; break;
            default: out += character;
        }
    }
    return out;
}

}  // namespace kiban::monitoring
