// SPDX-License-Identifier: Apache-2.0
#include "monitoring/plot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {
namespace {

std::vector<PlotPoint> line(std::size_t count) {
    std::vector<PlotPoint> points;
    for (std::size_t i = 1; i <= count; ++i) points.push_back({static_cast<double>(i), static_cast<double>(2 * i)});
    return points;
}

std::size_t count_of(const std::string& text, const std::string& part) {
    std::size_t count = 0;
    for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
    return count;
}

Plot plot_of(std::vector<PlotPoint> points, PlotSeries::Style style = PlotSeries::Style::kCurve) {
    Plot plot;
    plot.title = "Loss";
    plot.series = {{"run", 0, style, std::move(points)}};
    return plot;
}

TEST(DownSample, KeepsEveryPointWhenThereAreFew) {
    const auto buckets = down_sample(line(10), 1000);
    ASSERT_EQ(buckets.size(), 10u);
    for (std::size_t i = 0; i < 10; ++i) {
        EXPECT_EQ(buckets[i].x, static_cast<double>(i + 1));
        EXPECT_EQ(buckets[i].mean, static_cast<double>(2 * (i + 1)));
        EXPECT_EQ(buckets[i].low, buckets[i].high);
    }
}

TEST(DownSample, CountsEveryPointOnceAndGivesMeansOfEqualWidth) {
    const auto buckets = down_sample(line(100'000), 100);
    ASSERT_EQ(buckets.size(), 100u);
    std::size_t points = 0;
    for (const PlotBucket& bucket : buckets) {
        points += bucket.count;
        EXPECT_NEAR(static_cast<double>(bucket.count), 1000, 1);
        EXPECT_NEAR(bucket.mean, 2 * bucket.x, 1e-6 * bucket.mean);
        EXPECT_NEAR(bucket.mean, (bucket.low + bucket.high) / 2, 1e-6 * bucket.mean);
    }
    EXPECT_EQ(points, 100'000u);
}

TEST(DownSample, ASpikeOfOneStepInAMillionStaysAsHighAsItWas) {
    std::vector<PlotPoint> points;
    for (int step = 1; step <= 1'000'000; ++step)
        points.push_back({static_cast<double>(step), step == 654'321 ? 99.0 : 1.0});
    double highest = 0;
    for (const PlotBucket& bucket : down_sample(points, 500)) highest = std::max(highest, bucket.high);
    EXPECT_EQ(highest, 99.0);
}

TEST(DownSample, LeavesOutWhatIsNotFiniteAndTakesASinglePoint) {
    EXPECT_TRUE(down_sample({}, 10).empty());
    EXPECT_TRUE(down_sample({{1, std::numeric_limits<double>::quiet_NaN()}}, 10).empty());
    const auto one = down_sample({{5, 3}}, 10);
    ASSERT_EQ(one.size(), 1u);
    EXPECT_EQ(one[0].mean, 3);
}

TEST(Ticks, AreRoundNumbersInsideTheRange) {
    EXPECT_EQ(linear_ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
    EXPECT_EQ(linear_ticks(1.7, 3.2, 3), (std::vector<double>{2, 2.5, 3}));
    EXPECT_TRUE(linear_ticks(1, 1, 5).empty());
    EXPECT_EQ(log_ticks(1, 1000), (std::vector<double>{1, 10, 100, 1000}));
    EXPECT_EQ(log_ticks(0.4, 6), (std::vector<double>{0.5, 1, 2, 5}));
    EXPECT_TRUE(log_ticks(0, 10).empty());
}

TEST(Numbers, AreShort) {
    EXPECT_EQ(short_number(0), "0");
    EXPECT_EQ(short_number(12'500), "12.5k");
    EXPECT_EQ(short_number(-2e6), "-2M");
    EXPECT_EQ(short_number(0.0003), "0.0003");
    EXPECT_EQ(short_number(2.5e13), "25T");
    EXPECT_EQ(short_number(linear_ticks(-1, 1, 2)[1]), "0");
}

TEST(Escape, LeavesNothingThatMarkupWouldRead) {
    EXPECT_EQ(escape_html("<a href=\"x\">'&'</a>"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
}

TEST(PlotSvg, PutsTheEndsOfALineAtTheEdgesOfTheFrame) {
    const std::string svg = plot_svg(plot_of({{0, 0}, {100, 1}}));
    // Left edge 58, right edge 520 - 14; the value axis starts at 0 at 260 - 28 and ends 5 % above 1, with 12 above it.
    EXPECT_TRUE(contains(svg, "<path class=\"line\" d=\"M58.0 232.0L506.0 22.5\"/>")) << svg;
}

TEST(PlotSvg, IsNoLongerForAMillionStepsThanForAThousand) {
    EXPECT_LT(plot_svg(plot_of(line(1'000'000))).size(),
              1.6 * static_cast<double>(plot_svg(plot_of(line(1000))).size()));
}

TEST(PlotSvg, MarksWhatIsNotFinite) {
    auto points = line(10);
    points[4].y = std::numeric_limits<double>::quiet_NaN();
    points[6].y = std::numeric_limits<double>::infinity();
    const std::string svg = plot_svg(plot_of(points));
    EXPECT_EQ(count_of(svg, "class=\"alarm\""), 2u);
    EXPECT_TRUE(contains(svg, "not finite at step 5")) << svg;
    EXPECT_FALSE(contains(svg, "nan"));
    EXPECT_FALSE(contains(svg, "inf"));
}

TEST(PlotSvg, DrawsWithoutANumberThatIsNotOneWhateverItIsGiven) {
    const double not_a_number = std::numeric_limits<double>::quiet_NaN();
    for (const auto& points : std::vector<std::vector<PlotPoint>>{{},
                                                                  {{1, not_a_number}},
                                                                  {{1, 0}},
                                                                  {{1, 5}, {2, 5}},
                                                                  {{1, -1}, {2, -1}},
                                                                  {{0, 1}, {1, 1e300}},
                                                                  {{7, 1e-300}}}) {
        for (const bool log_y : {false, true}) {
            Plot plot = plot_of(points);
            plot.log_y = log_y;
            const std::string svg = plot_svg(plot);
            EXPECT_TRUE(svg.ends_with("</svg>\n"));
            EXPECT_FALSE(contains(svg, "nan ") || contains(svg, " nan") || contains(svg, "\"nan") ||
                         contains(svg, "inf"))
                << svg;
        }
    }
    EXPECT_TRUE(contains(plot_svg(plot_of({})), "nothing recorded yet"));
}

TEST(PlotSvg, ShowsEachValueOfAMarkedSeries) {
    EXPECT_EQ(count_of(plot_svg(plot_of(line(7), PlotSeries::Style::kMarked)), "<circle class=\"dot\""), 7u);
}

}  // namespace
}  // namespace kiban::monitoring
