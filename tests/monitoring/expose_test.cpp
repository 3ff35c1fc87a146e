// SPDX-License-Identifier: Apache-2.0
#include "monitoring/expose.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <chrono>
#include <thread>

#include "monitoring/error.h"
#include "monitoring/exposition.h"
#include "monitoring/log.h"
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
             {"# HELP a b\n# TYPE a histogram\na_bucket{le=\"1\"} -1\n", "line 3: expected a count"},
             {head + head, "line 3: expected each family once"},
             {head + "# HELP b c\n" + "# TYPE a gauge\n", "line 4: expected each family once"},
             {head + "a 1\n# TYPE a counter\n", "line 4: expected the TYPE before the samples"},
             {"# HELP a-b c\n", "line 1: expected a metric's name"},
             {"# HELP 1a c\n", "line 1: expected a metric's name"},
             {"# HELP  c\n", "line 1: expected a metric's name"},
             {head + "a{x-y=\"1\"} 1\n", "line 3: expected a label's name"},
             {head + "a{x:y=\"1\"} 1\n", "line 3: expected a label's name"},
             {head + "a{1x=\"1\"} 1\n", "line 3: expected a label's name"},
             {head + "a{__name__=\"b\"} 1\n", "line 3: expected a label's name"},
             {head + "a{x=\"1\",x=\"2\"} 1\n", "line 3: expected each label once"},
             {head + "a{x=\"\xC3(\"} 1\n", "line 3: expected UTF-8"},
             {"# HELP a \xED\xA0\x80\n", "line 1: expected UTF-8"},
             {"# HELP a \xC0\xAF\n", "line 1: expected UTF-8"}}) {
        EXPECT_TRUE(contains(message_of<DataError>([&] { read_exposition(text); }), expected))
            << message_of<DataError>([&] { read_exposition(text); });
    }
}

TEST(Exposition, NamesAndTextThatPrometheusTakesAreTaken) {
    for (const char* name : {"_a_b1", "A:b"}) {  // of the second promtool says that it is for recorded series
        const std::string text =
            fmt::format("# HELP {0} c\n# TYPE {0} gauge\n{0}{{_x1=\"\xE5\x9F\xBA\xE7\x9B\xA4\",y=\"\"}} 1\n", name);
        EXPECT_EQ(prometheus::TextSerializer().Serialize(read_exposition(text)), text);
        const Finished judged = run_process({"promtool", "check", "metrics"}, {}, text);
        EXPECT_EQ(judged.exit_code, *name == '_' ? 0 : 3) << judged.output;
    }
    const std::string bare = "# TYPE a gauge\na{x=\"1\"} 1\n";
    EXPECT_EQ(prometheus::TextSerializer().Serialize(read_exposition(bare)), bare) << "without a HELP";
}

class Expose : public ::testing::Test {
  protected:
    fs::path run_directory(const std::string& name) const {
        fs::create_directories(root_ / name);
        return root_ / name;
    }
    // What a coordinator of `run` that has done `step` writes.
    void write(const std::string& directory, const std::string& run, std::uint64_t step,
               const std::string& state = "training") const {
        RunMetrics metrics(named(run));
        every_event(metrics);
        metrics.set_state(state);
        metrics.step(row_of(step, 2), 100, false, {});
        std::this_thread::sleep_for(std::chrono::milliseconds(10));  // so that its time differs from the one before
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

    std::size_t times_in_log(const std::string& text) const {
        const std::string log = slurp(root_ / "log");
        std::size_t times = 0;
        for (auto at = log.find(text); at != std::string::npos; at = log.find(text, at + 1)) ++times;
        return times;
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
    EXPECT_EQ(runs(exposed.text(), "lost"), 1);
    age("first", 1800);  // a clock behind ours: it has changed, so it lives
    EXPECT_EQ(step_of(exposed.text(), "one"), 20);
    EXPECT_EQ(runs(exposed.text(), "lost"), 0);
}

TEST_F(Expose, ASilentRunHasEndedWhenItSaidSoAndIsLostOtherwise) {
    for (const char* state : {"done", "failed", "preparing", "training", "restarting"}) {
        write(state, state, 20, state);
        age(state, 3600);
    }
    rewrite(run_directory("mute") / kMetricsFile, "# HELP a b\n# TYPE a gauge\na{run=\"x\"} 1\n");
    age("mute", 3600);
    start_log({.who = "service", .file = root_ / "log", .to_stderr = false});
    const ExposedRuns exposed({root_.path()});
    for (int scrape = 0; scrape < 2; ++scrape) {
        const std::string text = exposed.text();
        EXPECT_EQ(runs(text, "ended"), 2);
        EXPECT_EQ(runs(text, "lost"), 4) << "three that were at work, and one that never said what it did";
        EXPECT_EQ(runs(text, "served"), 0);
    }
    EXPECT_EQ(times_in_log("never said that run 'training' ended (it was training)"), 1u) << slurp(root_ / "log");
    EXPECT_EQ(times_in_log("never said"), 4u) << slurp(root_ / "log");
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

TEST_F(Expose, OfTwoLiveRunsWithOneNameTheFirstIsServedUntilItIsSilent) {
    constexpr double kSilent = 4;
    write("b", "one", 100);
    start_log({.who = "service", .file = root_ / "log", .to_stderr = false});
    const ExposedRuns exposed({root_.path()}, kSilent);
    EXPECT_EQ(step_of(exposed.text(), "one"), 100);
    for (std::uint64_t i = 1; i <= 5; ++i) {  // they renew in turn
        write("a", "one", i);
        EXPECT_EQ(step_of(exposed.text(), "one"), 99.0 + static_cast<double>(i));
        write("b", "one", 100 + i);
        EXPECT_EQ(step_of(exposed.text(), "one"), 100.0 + static_cast<double>(i));
        EXPECT_EQ(runs(exposed.text(), "hidden"), 1);
    }
    EXPECT_EQ(times_in_log("two live runs are called 'one'"), 1u) << slurp(root_ / "log");
    EXPECT_EQ(
        times_in_log(fs::canonical(root_ / "b").string() + "' is served, and '" + fs::canonical(root_ / "a").string()),
        1u);
    std::this_thread::sleep_for(std::chrono::duration<double>(1.5 * kSilent));
    write("a", "one", 7);
    EXPECT_EQ(step_of(exposed.text(), "one"), 7) << "b is silent";
    write("b", "one", 120);
    EXPECT_EQ(step_of(exposed.text(), "one"), 7) << "and comes too late";
    fs::remove_all(root_ / "a");
    EXPECT_EQ(step_of(exposed.text(), "one"), 120);
}

TEST_F(Expose, ALinkToARunDirectoryIsNoSecondRun) {
    write("first", "one", 20);
    fs::create_directory_symlink(root_ / "first", root_ / "latest");
    const ExposedRuns exposed({root_.path(), root_ / "first" / ".." / "first"});
    EXPECT_EQ(step_of(exposed.text(), "one"), 20);
    EXPECT_EQ(runs(exposed.text(), "hidden"), 0);
}

TEST_F(Expose, AFileThatWouldSpoilTheScrapeOfAllIsLeftOut) {
    write("good", "one", 20);
    const std::string head = "# HELP a b\n# TYPE a gauge\n";
    const ExposedRuns exposed({root_.path()});
    for (const auto& [content, expected] : std::vector<std::pair<std::string, std::string>>{
             {head + "a{run=\"x\"} 1\na{run=\"y\"} 2\n", "expected series of one run, found 'x' and 'y'"},
             {head + "a{run=\"x\"} 1\na{of=\"x\"} 2\n",
              "expected a label run on every series, found none on one of 'a'"},
             {head + "a{run=\"\"} 1\n", "expected a label run on every series"},
             {head, "expected the series of a run, found none"},
             {"# HELP kiban_exposed_runs b\n# TYPE kiban_exposed_runs gauge\nkiban_exposed_runs{run=\"x\"} 1\n",
              "'kiban_exposed_runs' is what `kiban expose` says of itself"},
             {head + "a{run=\"x\",bad-name=\"\"} 1\n", "line 3: expected a label's name"},
             {head + "a{run=\"\xFF\"} 1\n", "line 3: expected UTF-8"}}) {
        start_log({.who = "service", .file = root_ / "log", .to_stderr = false});
        rewrite(run_directory("bad") / kMetricsFile, content);
        const std::string text = exposed.text();
        EXPECT_EQ(runs(text, "unreadable"), 1) << content;
        EXPECT_EQ(step_of(text, "one"), 20);
        EXPECT_EQ(run_process({"promtool", "check", "metrics"}, {}, text).exit_code, 0) << content;
        EXPECT_EQ(times_in_log(expected), 1u) << slurp(root_ / "log");
        fs::remove_all(root_ / "bad");
        EXPECT_EQ(runs(exposed.text(), "unreadable"), 0);
        fs::remove(root_ / "log");
    }
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
