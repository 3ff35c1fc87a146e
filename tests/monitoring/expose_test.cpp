// SPDX-License-Identifier: Apache-2.0
#include "monitoring/expose.h"

#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <chrono>

#include "monitoring/error.h"
#include "monitoring/exposition.h"
#include "monitoring/rewrite.h"
#include "tests/monitoring/http.h"
#include "tests/monitoring/process.h"
#include "tests/monitoring/simulated_run.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {
namespace {

namespace fs = std::filesystem;

RunIdentity named(const std::string& run) {
    RunIdentity simulated = identity();
    simulated.run = run;
    return simulated;
}

TEST(Exposition, WhatTheMetricsSayIsReadAndWrittenAgainToTheByte) {
    RunMetrics metrics(named("a \"quoted\" \\ name\nof two lines"));
    every_event(metrics);
    communicate_on_every_axis(metrics);
    metrics.step(row_of(11, std::numeric_limits<double>::infinity()), 100, false, {});
    const std::string text = metrics.text();
    EXPECT_EQ(prometheus::TextSerializer().Serialize(read_exposition(text)), text);
}

TEST(Exposition, ALineThatCannotBeUnderstoodIsNamed) {
    const std::string head = "# HELP a b\n# TYPE a gauge\n";
    for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{
             {head + "a{x=\"1\"} one\n", "line 3: expected a number, found 'a{x=\"1\"} one'"},
             {head + "a{x=1} 1\n", "line 3: expected labels of the form name=\"value\""},
             {head + "a{x=\"1} 1\n", "line 3: expected a label's value that ends"},
             {head + "b 1\n", "line 3: expected a sample of the family before"},
             {head + "a\n", "line 3: expected a value"},
             {"a 1\n", "line 1: expected a family before its samples"},
             {"# HELP a b\n# TYPE a summary\n", "line 2: expected counter, gauge, histogram or untyped"},
             {"# HELP a b\n# TYPE a histogram\na_bucket{le=\"1\"} -1\n", "line 3: expected a count"}}) {
        EXPECT_TRUE(contains(message_of<DataError>([&] { read_exposition(text); }), expected))
            << message_of<DataError>([&] { read_exposition(text); });
    }
}

class Expose : public ::testing::Test {
  protected:
    fs::path run_directory(const std::string& name) const {
        fs::create_directories(root_ / name);
        return root_ / name;
    }
    // What a coordinator of `run` that has done `step` writes.
    void write(const std::string& directory, const std::string& run, std::uint64_t step) const {
        RunMetrics metrics(named(run));
        every_event(metrics);
        metrics.step(row_of(step, 2), 100, false, {});
        rewrite(run_directory(directory) / kMetricsFile, metrics.text());
    }
    void age(const std::string& directory, int seconds) const {
        fs::last_write_time(root_ / directory / kMetricsFile,
                            fs::file_time_type::clock::now() - std::chrono::seconds(seconds));
    }
    double step_of(const std::string& text, const std::string& run) const {
        return value_in(text, "kiban_train_step", "run=\"" + run + "\"");
    }
    double runs(const std::string& text, const std::string& state) const {
        return value_in(text, "kiban_exposed_runs", "state=\"" + state + "\"");
    }

    TempDirectory root_;
};

TEST_F(Expose, ServesTheSeriesOfAllRunsAsTheirCoordinatorsWould) {
    write("first", "one", 20);
    write("second", "two", 30);
    fs::create_directories(root_ / "no run");
    const ExposedRuns exposed({root_.path()});
    const std::string text = exposed.text();
    EXPECT_EQ(step_of(text, "one"), 20);
    EXPECT_EQ(step_of(text, "two"), 30);
    EXPECT_EQ(runs(text, "served"), 2);
    EXPECT_EQ(value_in(text, "kiban_step_duration_seconds_count", "run=\"two\""), 2);
    EXPECT_EQ(value_in(text, "kiban_worker_up", "run=\"one\",rank=\"0\""), 1);
    const Finished judged = run_process({"promtool", "check", "metrics"}, {}, text);
    EXPECT_EQ(judged.exit_code, 0) << judged.output;
    write("third", "three", 5);
    EXPECT_EQ(step_of(exposed.text(), "three"), 5) << "found while it serves";
    write("first", "one", 21);
    EXPECT_EQ(step_of(exposed.text(), "one"), 21);
    fs::remove_all(root_ / "first");
    EXPECT_TRUE(std::isnan(step_of(exposed.text(), "one")));
    EXPECT_EQ(step_of(ExposedRuns({root_ / "second"}).text(), "two"), 30) << "a run directory itself";
}

TEST_F(Expose, ARunWhoseCoordinatorIsSilentIsNotServedUntilItSpeaksAgain) {
    write("first", "one", 20);
    age("first", 3600);
    const ExposedRuns exposed({root_.path()});
    EXPECT_TRUE(std::isnan(step_of(exposed.text(), "one"))) << "its workers are not up";
    EXPECT_EQ(runs(exposed.text(), "silent"), 1);
    age("first", 1800);  // a clock behind ours: it has changed, so it lives
    EXPECT_EQ(step_of(exposed.text(), "one"), 20);
    EXPECT_EQ(runs(exposed.text(), "silent"), 0);
}

TEST_F(Expose, OfTwoRunsWithOneNameTheOneRenewedLastIsServed) {
    write("old", "one", 20);
    write("new", "one", 40);
    age("old", 30);
    const ExposedRuns exposed({root_.path()});
    EXPECT_EQ(step_of(exposed.text(), "one"), 40);
    EXPECT_EQ(runs(exposed.text(), "hidden"), 1);
    EXPECT_EQ(run_process({"promtool", "check", "metrics"}, {}, exposed.text()).exit_code, 0);
}

TEST_F(Expose, WhatCannotBeReadIsCountedAndTheOthersAreServed) {
    write("first", "one", 20);
    rewrite(run_directory("broken") / kMetricsFile, "# HELP a b\n# TYPE a gauge\na{run=\"x\"} many\n");
    rewrite(run_directory("empty") / kMetricsFile, "");
    const ExposedRuns exposed({root_.path()});
    EXPECT_EQ(step_of(exposed.text(), "one"), 20);
    EXPECT_EQ(runs(exposed.text(), "unreadable"), 2);
    EXPECT_TRUE(contains(message_of<IoError>([] { const ExposedRuns none({"/nowhere"}); }),
                         "cannot serve the runs of '/nowhere': there is no such directory"));
}

TEST_F(Expose, IsServedOverHttp) {
    write("first", "one", 20);
    const ExposedRuns exposed({root_.path()});
    const MetricsServer server({exposed.collectable()}, "127.0.0.1:0", "--listen");
    EXPECT_EQ(step_of(body_of(http_get(server.port(), "/metrics")), "one"), 20);
    const std::string taken = "127.0.0.1:" + std::to_string(server.port());
    EXPECT_TRUE(contains(
        message_of<ConfigError>([&] { const MetricsServer second({exposed.collectable()}, taken, "--listen"); }),
        "set --listen to another address"));
}

}  // namespace
}  // namespace kiban::monitoring
