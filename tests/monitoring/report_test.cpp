// SPDX-License-Identifier: Apache-2.0
#include "monitoring/report.h"

#include <gtest/gtest.h>

#include <cmath>

#include "monitoring/error.h"
#include "tests/monitoring/process.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {
namespace {

ReportRun run_of(const std::string& name, std::uint64_t steps) {
    ReportRun run;
    run.name = name;
    for (std::uint64_t step = 1; step <= steps; ++step) {
        CurveRow row;
        row.step = step;
        row.tokens = 1000 * step;
        row.loss = 5 / std::sqrt(static_cast<double>(step));
        row.learning_rate = 1e-3;
        row.grad_norm = 0.5;
        if (step % 50 == 0) row.eval_loss = row.loss + 0.125;
        row.step_seconds = 0.5;
        row.wall_time = 1.7e9;
        row.attempt = step > 60 ? 2 : 1;
        run.curve.rows.push_back(row);
    }
    return run;
}

std::string report_of(const std::vector<ReportRun>& runs) {
    const TempDirectory directory;
    write_report(directory / "report.html", runs);
    return slurp(directory / "report.html");
}

std::size_t count_of(const std::string& text, const std::string& part) {
    std::size_t count = 0;
    for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
    return count;
}

TEST(Report, ShowsEveryPlotOnLinearAndLogarithmicSteps) {
    const std::string page = report_of({run_of("demo", 100)});
    for (const char* title : {"Loss", "Learning rate", "Gradient norm", "Throughput", "Tokens"}) {
        EXPECT_TRUE(contains(page, std::string("<h2>") + title + "</h2>")) << title;
    }
    EXPECT_EQ(count_of(page, "<svg "), 10u);
    EXPECT_EQ(count_of(page, "data-log-x=\"1\""), 5u);
    EXPECT_EQ(count_of(page, "class=\"rule\""), 10u) << "the restart after step 60 is a line in every plot";
    EXPECT_TRUE(contains(page, "Last step recorded 2023-11-14 22:13:20 UTC")) << "1.7e9 seconds";
}

TEST(Report, TheTableHoldsTheNumbersOfTheCurve) {
    ReportRun run = run_of("demo", 100);
    run.curve.superseded_rows = 1234;
    const std::string page = report_of({run});
    for (const char* cell : {"100", "100k", "0.5", "0.6250 at 100", "2k", "50.0 s", "1,234"}) {
        EXPECT_TRUE(contains(page, std::string("<td class=\"value\">") + cell + "</td>")) << cell;
    }
}

TEST(Report, ThroughputIsNotInventedForTheStepAfterAGap) {
    ReportRun run = run_of("demo", 100);
    run.curve.rows.erase(run.curve.rows.begin() + 10, run.curve.rows.begin() + 60);
    EXPECT_TRUE(contains(report_of({run}), "<td class=\"value\">2k</td>"));
    EXPECT_FALSE(contains(report_of({run}), ",1.02e+05,")) << "51 steps' tokens over one step's time";
}

TEST(Report, MarksAndListsTheEventsOfTheCurve) {
    ReportRun run = run_of("demo", 300);
    run.curve.rows[199].loss = 9;
    run.curve.rows[249].grad_norm = 50;
    const std::string page = report_of({run});
    EXPECT_EQ(count_of(page, "<title>step 200: spike of train_loss: "), 2u) << "once in each plot of the loss";
    EXPECT_EQ(count_of(page, "<title>step 250: spike of grad_norm: "), 2u) << "once in each plot of the norm";
    EXPECT_EQ(count_of(page, "▴ event"), 2u);
    EXPECT_TRUE(contains(page, "demo: 4 events on the curve")) << "two spikes and their ends";
    EXPECT_TRUE(contains(page, "<li>step 201: spike_recovered of train_loss (since step 200)"));
    const std::string both = report_of({run, run_of("other", 100)});
    EXPECT_EQ(count_of(both, "▴ event"), 0u) << "marks of several runs would belong to nobody";
    EXPECT_TRUE(contains(both, "demo: 4 events on the curve"));
}

TEST(Report, ComparesRunsByColour) {
    const std::string page = report_of({run_of("small", 100), run_of("large", 200)});
    EXPECT_TRUE(contains(page, "<title>small · large</title>"));
    EXPECT_TRUE(contains(page, "class=\"series curve run-0\" data-name=\"small, training\""));
    EXPECT_TRUE(contains(page, "class=\"series curve run-1\" data-name=\"large, training\""));
    EXPECT_TRUE(contains(page, "class=\"series marked run-1\" data-name=\"large, holdout\""));
    EXPECT_FALSE(contains(page, "class=\"rule\""));
}

TEST(Report, EscapesEveryTextThatComesFromOutside) {
    ReportRun run = run_of("<img src=x onerror=alert(1)>", 100);
    run.facts = {{"<b>key", "<script>alert(2)</script>"}};
    run.events = {"<i>event", "\"quoted\" & more"};
    for (const auto& runs : {std::vector<ReportRun>{run}, std::vector<ReportRun>{run, run}}) {
        const std::string page = report_of(runs);
        for (const char* raw : {"<img", "<b>", "<i>event", "<script>alert", "\"quoted\""})
            EXPECT_FALSE(contains(page, raw)) << raw;
        EXPECT_TRUE(contains(page, "&lt;script&gt;alert(2)&lt;/script&gt;"));
        EXPECT_TRUE(contains(page, "&quot;quoted&quot; &amp; more"));
    }
}

TEST(Report, NeedsNothingFromElsewhere) {
    const std::string page = report_of({run_of("demo", 100)});
    for (const char* link : {"http:", "https:", "src=", "href=", "@import", "url("})
        EXPECT_FALSE(contains(page, link)) << link;
}

TEST(Report, IsWellFormed) {
    const TempDirectory directory;
    write_report(directory / "report.html", {run_of("a & b", 100), run_of("<c>", 3), run_of("empty", 0)});
    // Every element that is opened is closed, in order.
    const Finished referee = run_process(
        {"/usr/bin/python3", KIBAN_SOURCE_DIR "/tests/monitoring/check_html.py", directory / "report.html"});
    EXPECT_EQ(referee.exit_code, 0) << referee.output;
    EXPECT_TRUE(contains(referee.output, "svg: 10")) << referee.output;
}

TEST(Report, ARunWithoutAStepSaysSo) {
    const std::string page = report_of({run_of("new", 0)});
    EXPECT_TRUE(contains(page, "No step is recorded yet."));
    EXPECT_EQ(count_of(page, "nothing recorded yet"), 10u);
}

TEST(Report, StaysSmallForALongRun) { EXPECT_LT(report_of({run_of("long", 300'000)}).size(), 600'000u); }

TEST(Report, APlaceThatCannotBeWrittenIsNamed) {
    const TempDirectory directory;
    const auto file = directory / "missing/report.html";
    EXPECT_TRUE(contains(message_of<IoError>([&] { write_report(file, {run_of("demo", 3)}); }),
                         (directory / "missing").string()));
}

}  // namespace
}  // namespace kiban::monitoring
