// SPDX-License-Identifier: Apache-2.0
#include "monitoring/report.h"

#include <gtest/gtest.h>

#include <algorithm>
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

TEST(Report, ShowsEveryPlotWithoutItsScriptToo) {
    const std::string page = report_of({run_of("demo", 100)});
    for (const char* title : {"Loss", "Learning rate", "Gradient norm", "Throughput", "Tokens"}) {
        EXPECT_TRUE(contains(page, std::string("<h2>") + title + "</h2>")) << title;
    }
    EXPECT_EQ(count_of(page, "<svg "), 5u);
    EXPECT_EQ(count_of(page, "class=\"rule\""), 5u) << "the restart after step 60 is a line in every plot";
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
    EXPECT_FALSE(contains(report_of({run}), "1.02e+05")) << "51 steps' tokens over one step's time";
    EXPECT_TRUE(contains(report_of({run}),
                         "\"speed\":{\"mean\":[2000,2000,2000,2000,2000,2000,2000,2000,2000,2000,null,2000,"));
}

TEST(Report, MarksAndListsTheEventsOfTheCurve) {
    ReportRun run = run_of("demo", 300);
    run.curve.rows[199].loss = 9;
    run.curve.rows[249].grad_norm = 50;
    const std::string page = report_of({run});
    EXPECT_EQ(count_of(page, "<title>step 200: spike of train_loss: "), 1u) << "in the plot of the loss";
    EXPECT_EQ(count_of(page, "<title>step 250: spike of grad_norm: "), 1u) << "in the plot of the norm";
    EXPECT_TRUE(
        contains(page, "{\"step\":200,\"plot\":\"loss\",\"alarm\":true,\"text\":\"step 200: spike of train_loss: "));
    EXPECT_TRUE(
        contains(page, "{\"step\":250,\"plot\":\"norm\",\"alarm\":true,\"text\":\"step 250: spike of grad_norm: "));
    EXPECT_EQ(count_of(page, "▴ event"), 2u);
    EXPECT_TRUE(contains(page, "demo: 4 events on the curve")) << "two spikes and their ends";
    EXPECT_TRUE(contains(page, "<li>step 201: spike_recovered of train_loss (since step 200)"));
    const std::string both = report_of({run, run_of("other", 100)});
    EXPECT_EQ(count_of(both, "<path class=\"alarm\""), 0u) << "still marks of several runs would belong to nobody";
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
    run.sources = {{"<b>source", 1, 1, 1, 1, {{"<b>reason", 1}}}};
    run.ranks = {{0, "<b>host", {{"forward", 1}}}};
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
    for (const char* link : {"http:", "https:", "src=", "href=", "@import", "fetch(", "import("})
        EXPECT_FALSE(contains(page, link)) << link;
    EXPECT_EQ(count_of(page, "url("), count_of(page, "url(#")) << "what is referred to is in the page";
}

TEST(Report, IsWellFormed) {
    const TempDirectory directory;
    write_report(directory / "report.html", {run_of("a & b", 100), run_of("<c>", 3), run_of("empty", 0)});
    // Every element that is opened is closed, in order.
    const Finished referee = run_process(
        {"/usr/bin/python3", KIBAN_SOURCE_DIR "/tests/monitoring/check_html.py", directory / "report.html"});
    EXPECT_EQ(referee.exit_code, 0) << referee.output;
    EXPECT_TRUE(contains(referee.output, "svg: 5")) << referee.output;
}

TEST(Report, ARunWithoutAStepSaysSo) {
    const std::string page = report_of({run_of("new", 0)});
    EXPECT_TRUE(contains(page, "No step is recorded yet."));
    EXPECT_EQ(count_of(page, "nothing recorded yet"), 6u) << "and once in the script";
}

// One value of the page's data, in the order of the buckets.
std::vector<std::string> values_of(const std::string& page, const std::string& before) {
    const auto begin = page.find(before) + before.size();
    std::vector<std::string> values(1);
    for (auto at = begin; page[at] != ']'; ++at) {
        if (page[at] == ',') {
            values.emplace_back();
        } else {
            values.back() += page[at];
        }
    }
    return values;
}

TEST(Report, TheDataOfAShortRunIsEveryStep) {
    const std::string page = report_of({run_of("demo", 3000)});
    EXPECT_EQ(values_of(page, "\"step\":[").size(), 3000u);
    EXPECT_FALSE(contains(page, "\"count\":["));
    EXPECT_FALSE(contains(page, "\"low\":[")) << "least, mean and largest are the same";
    EXPECT_TRUE(contains(page, "\"loss\":{\"mean\":[5,3.5355,2.8868,2.5,")) << "5 / sqrt(step)";
}

TEST(Report, ASpikeOfOneStepInALongRunIsInTheDataAsHighAsItWas) {
    ReportRun run = run_of("long", 300'000);
    run.curve.rows[123'456].loss = 77;
    const std::string page = report_of({run});
    const auto highest = values_of(page, "\"high\":[");
    EXPECT_EQ(std::count(highest.begin(), highest.end(), "77"), 1);
    const auto steps = values_of(page, "\"step\":[");
    EXPECT_EQ(steps.size(), highest.size());
    EXPECT_LT(steps.size(), 3000u);
    for (std::size_t i = 0; i < 200; ++i) ASSERT_EQ(steps[i], std::to_string(i + 1)) << "a logarithmic axis needs them";
    EXPECT_EQ(steps.back(), "300000");
    const auto counts = values_of(page, "\"count\":[");
    std::uint64_t rows = 0;
    for (const std::string& count : counts) rows += std::stoull(count);
    EXPECT_EQ(rows, 300'000u);
}

TEST(Report, ShowsWhereTheTimeOfEachRankWent) {
    ReportRun run = run_of("demo", 100);
    run.ranks = {{0, "node-a", {{"forward", 30}, {"backward", 60}, {"reduce", 10}}},
                 {1, "node-b", {{"forward", 45}, {"backward", 45}, {"loading", 10}}}};
    const std::string page = report_of({run});
    EXPECT_TRUE(contains(page, "title=\"node-a\">rank 0</span>"));
    EXPECT_TRUE(contains(page, "style=\"width:60.00%\" title=\"backward: 1.0 min, 60.0 %\""));
    EXPECT_TRUE(contains(page, "</i>forward 37.5 %</span>")) << "75 of 200 seconds";
    EXPECT_TRUE(contains(page, "</i>communication 5.0 %</span>"));
    EXPECT_TRUE(contains(page, "</i>start and end 5.0 %</span>")) << "what is no phase of a step";
    for (int rank = 2; rank < 100; ++rank) run.ranks.push_back({rank, "n", {{"reduce", rank == 57 ? 1.0 : 20.0}}});
    const std::string many = report_of({run});
    EXPECT_TRUE(contains(many, "the 64 of 100 ranks that waited least"));
    EXPECT_TRUE(contains(many, ">rank 57</span>"));
    EXPECT_FALSE(contains(many, ">rank 99</span>"));
}

TEST(Report, ShowsCheckpointsDataAndCostWhereTheyAreKnown) {
    ReportRun run = run_of("demo", 100);
    EXPECT_FALSE(contains(report_of({run}), "╷ checkpoint"));
    run.saves = {{50, 2'500'000, 1.5, false}, {100, 2'500'000, 90, true}};
    run.sources = {{"<books>", 1200, 5'000'000, 40'000, 2'000, {{"redacted email", 17}, {"dropped duplicate", 1234}}}};
    run.cost = {{"worker-hours", "0.25"}};
    const std::string page = report_of({run});
    EXPECT_TRUE(contains(page, "╷ checkpoint"));
    EXPECT_TRUE(contains(page, "\"checkpoints\":[50,100]"));
    EXPECT_TRUE(contains(page, "<tr><td>100</td><td>2.5 MB</td><td>1.5 min</td><td>yes</td></tr>\n<tr><td>50</td>"));
    EXPECT_TRUE(
        contains(page, "<td class=\"name\">&lt;books&gt;</td><td>1,200</td><td>5.0 MB</td><td>40k</td><td>2k</td>"));
    EXPECT_TRUE(contains(page, "<dt>passes over the corpus</dt><dd>2.5</dd>")) << "100 000 tokens of 40 000";
    EXPECT_TRUE(contains(page, "<dd>redacted email 17, dropped duplicate 1,234</dd>"));
    EXPECT_TRUE(contains(page, "<dt>worker-hours</dt><dd>0.25</dd>"));
}

TEST(Report, ThePhasesOfTheCurveAreInIt) {
    const std::string page = report_of({run_of("demo", 100)});
    EXPECT_TRUE(contains(page, "\"phases\":[[1,\"learning\"]]"));
}

TEST(Report, StaysSmallForALongRun) { EXPECT_LT(report_of({run_of("long", 300'000)}).size(), 1'000'000u); }

TEST(Report, APlaceThatCannotBeWrittenIsNamed) {
    const TempDirectory directory;
    const auto file = directory / "missing/report.html";
    EXPECT_TRUE(contains(message_of<IoError>([&] { write_report(file, {run_of("demo", 3)}); }),
                         (directory / "missing").string()));
}

}  // namespace
}  // namespace kiban::monitoring
