// SPDX-License-Identifier: Apache-2.0
// What kiban report reads from a run directory.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>

#include "coordinator/run/run_report.h"
#include "coordinator/run/time_spent.h"
#include "data/manifest.h"
#include "monitoring/file.h"
#include "tests/coordinator/kiban_process.h"
#include "tests/coordinator/made_run.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

Membership members_of(const std::vector<std::map<std::string, double>>& seconds) {
    Membership members(static_cast<int>(seconds.size()), 0, 60, 30);
    for (std::size_t rank = 0; rank < seconds.size(); ++rank) {
        Hello hello;
        hello.rank = static_cast<int>(rank);
        hello.world_size = static_cast<int>(seconds.size());
        hello.host = fmt::format("node-{}", rank);
        members.hello(hello, 1);
        Heartbeat beat;
        beat.phase_seconds = seconds[rank];
        members.heartbeat(static_cast<int>(rank), beat, 1);
    }
    return members;
}

TEST(TimeSpent, AttemptsAreAddedUpAndWhatCannotBeUnderstoodIsLeftOut) {
    const MadeRun made;
    const RunDirectory directory(made.run_dir);
    EXPECT_TRUE(read_time_spent(directory).empty());
    for (const std::uint32_t attempt : {1u, 2u, 10u}) fs::create_directories(directory.logs(attempt));
    write_time_spent(directory, 1, members_of({{{"forward", 10}, {"reduce", 2}}, {{"forward", 11}}}));
    write_time_spent(directory, 1, members_of({{{"forward", 20}, {"reduce", 4}}, {{"forward", 22}}}));
    write_time_spent(directory, 10, members_of({{{"forward", 1}, {"save", 5}}}));
    std::ofstream(directory.logs(2) / "seconds.json") << "{\"format\":1,\"workers\":[{\"rank\":0}]}";
    const auto times = read_time_spent(directory);
    ASSERT_EQ(times.size(), 2u);
    EXPECT_EQ(times[0].host, "node-0");
    EXPECT_EQ(times[0].seconds, (std::map<std::string, double>{{"forward", 21}, {"reduce", 4}, {"save", 5}}))
        << "what an attempt wrote last, and the one after";
    EXPECT_EQ(times[1].seconds, (std::map<std::string, double>{{"forward", 22}}));
}

void add_to_journal(const MadeRun& made, const std::string& time, const std::string& event, const std::string& more) {
    std::ofstream(made.run_dir / "journal.jsonl", std::ios::app)
        << fmt::format("{{\"time\":\"{}\",\"attempt\":1,\"event\":\"{}\"{}}}\n", time, event, more);
}

TEST(ReportCommand, TellsOfTimeCheckpointsDataAndCost) {
    const MadeRun made;
    const RunDirectory directory(made.run_dir);
    fs::create_directories(directory.logs(1));
    write_time_spent(directory, 1, members_of({{{"forward", 30}, {"backward", 70}}}));
    fs::remove(directory.journal());
    add_to_journal(made, "2026-01-01T00:00:00.000Z", "attempt_started", ",\"workers\":4");
    add_to_journal(made, "2026-01-01T00:10:00.000Z", "checkpoint",
                   ",\"step\":10,\"directory\":\"" + made.older_checkpoint.filename().string() +
                       "\",\"bytes\":2000000,\"seconds\":1.5");
    add_to_journal(made, "2026-01-01T00:15:00.000Z", "checkpoint",
                   ",\"step\":15,\"directory\":\"gone\",\"bytes\":2000000,\"seconds\":1.5");
    add_to_journal(made, "2026-01-01T00:30:00.000Z", "coordinator_started",
                   "");  // nobody said that the first had ended
    add_to_journal(made, "2026-01-01T01:00:00.000Z", "attempt_started", ",\"workers\":2");
    add_to_journal(made, "2026-01-01T01:15:00.000Z", "attempt_ended", "");
    const fs::path page = made.root / "page.html";
    const Result result = kiban({"report", made.run_dir.string(), "-o", page.string(), "--worker-hour", "2.50 EUR"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const std::string html = monitoring::read_text(page);
    EXPECT_TRUE(contains(html, "title=\"backward: 1.2 min, 70.0 %\"")) << "of a hundred seconds";
    EXPECT_TRUE(contains(html, "<td>10</td><td>2.0 MB</td><td>1.5 s</td><td>yes</td>"));
    EXPECT_TRUE(contains(html, "<td>15</td><td>2.0 MB</td><td>1.5 s</td><td>no</td>"));
    EXPECT_TRUE(contains(html, "text.txt</td><td>1</td>")) << "the corpus";
    EXPECT_TRUE(contains(html, "<dt>worker-hours</dt><dd>at least 1.5</dd>"))
        << "4 for a quarter, as far as is known, 2 for another";
    EXPECT_TRUE(contains(html, "<dt>price</dt><dd>at least 3.75 EUR</dd>"));
    EXPECT_TRUE(contains(html, "<dt>operations that training needed</dt>"));
}

TEST(ReportCommand, WhatWasSetAsideByAFreshStartIsAnotherRuns) {
    const MadeRun made;
    const RunDirectory directory(made.run_dir);
    for (const std::uint32_t attempt : {1u, 2u}) fs::create_directories(directory.logs(attempt));
    write_time_spent(directory, 1, members_of({{{"forward", 100}}}));
    write_time_spent(directory, 2, members_of({{{"forward", 7}}}));
    fs::remove(directory.journal());
    std::ofstream journal(made.run_dir / "journal.jsonl");
    journal << R"({"time":"2026-01-01T00:00:00.000Z","attempt":1,"event":"attempt_started","workers":4}
{"time":"2026-01-01T01:00:00.000Z","attempt":1,"event":"checkpoint","step":900,"directory":"x","bytes":1,"seconds":1}
{"time":"2026-01-01T02:00:00.000Z","attempt":2,"event":"coordinator_started"}
{"time":"2026-01-01T02:00:00.000Z","attempt":2,"event":"started_over","moved":[]}
{"time":"2026-01-01T02:00:01.000Z","attempt":2,"event":"checkpoint","step":5,"directory":"y","bytes":1,"seconds":1}
)" << std::flush;
    const auto report = report_of_files(directory, "made", 0);
    ASSERT_EQ(report.saves.size(), 1u);
    EXPECT_EQ(report.saves[0].step, 5u);
    ASSERT_EQ(report.ranks.size(), 1u);
    EXPECT_EQ(report.ranks[0].seconds, (std::map<std::string, double>{{"forward", 7}}));
    EXPECT_EQ(report.events.size(), 5u) << "the journal is told whole";
}

// 2026-01-01T00:00:00Z
constexpr double kMidnight = 1767225600;

std::string worker_hours_of(const MadeRun& made) {
    for (const auto& [name, value] : report_of_files(RunDirectory(made.run_dir), "made", 0).cost)
        if (name == "worker-hours") return value;
    return "none";
}

TEST(WorkerHours, AnAttemptThatWasKilledLastsUntilItsLastStep) {
    const MadeRun made;
    const RunDirectory directory(made.run_dir);
    fs::remove_all(directory.curve());
    {
        monitoring::CurveWriter curve(directory.curve());
        curve.begin_attempt(1, 0);
        curve.append({.step = 1, .tokens = 100, .wall_time = kMidnight + 600, .attempt = 1});
        curve.append({.step = 2, .tokens = 200, .wall_time = kMidnight + 1800, .attempt = 1});
        curve.begin_attempt(2, 2);
        curve.append({.step = 3, .tokens = 300, .wall_time = kMidnight + 7800, .attempt = 2});
        curve.sync();
    }
    fs::remove(directory.journal());
    const auto add = [&](const char* time, int attempt, const std::string& event) {
        std::ofstream(directory.journal(), std::ios::app) << fmt::format(
            "{{\"time\":\"2026-01-01T{}Z\",\"attempt\":{},\"event\":\"{}\",\"workers\":2}}\n", time, attempt, event);
    };
    add("00:00:00.000", 1, "attempt_started");
    add("00:05:00.000", 1, "checkpoint");
    EXPECT_EQ(worker_hours_of(made), "at least 1") << "two workers for half an hour, and perhaps still";
    add("01:00:00.000", 2, "coordinator_started");
    EXPECT_EQ(worker_hours_of(made), "at least 1") << "the hour until the next start is no work";
    add("02:00:00.000", 2, "attempt_started");
    EXPECT_EQ(worker_hours_of(made), "at least 1.333") << "and ten minutes until the last step of the second";
    add("02:30:00.000", 2, "attempt_ended");
    EXPECT_EQ(worker_hours_of(made), "at least 2") << "the end of the second is known, that of the first is not";
}

TEST(WorkerHours, ARunWhoseAttemptsAllEndedIsKnownExactly) {
    const MadeRun made;
    fs::remove(made.run_dir / "journal.jsonl");
    add_to_journal(made, "2026-01-01T00:00:00.000Z", "attempt_started", ",\"workers\":4");
    add_to_journal(made, "2026-01-01T00:15:00.000Z", "attempt_ended", "");
    add_to_journal(made, "2026-01-01T00:30:00.000Z", "attempt_started", ",\"workers\":4");
    add_to_journal(made, "2026-01-01T00:45:00.000Z", "coordinator_ended", ",\"state\":\"failed\"");
    EXPECT_EQ(worker_hours_of(made), "2");
}

TEST(ReportCommand, ShowsWhatWasTakenOutOfACorpusThatWasCleaned) {
    const MadeRun made;
    data::Manifest manifest = data::Manifest::load(made.manifest);
    manifest.sources.at(0).cleaned.dropped["duplicate"] = 12;
    manifest.sources.at(0).cleaned.redacted["email"] = {.values = 345, .documents = 300};
    monitoring::publish(made.manifest, manifest.to_json());
    const auto report = report_of_files(RunDirectory(made.run_dir), "made", 0);
    ASSERT_EQ(report.sources.size(), 1u);
    const std::vector<std::pair<std::string, std::uint64_t>> expected = {{"redacted email", 345},
                                                                         {"dropped duplicate", 12}};
    EXPECT_EQ(report.sources[0].cleaned, expected);
}

TEST(ReportCommand, APriceThatIsNoneIsRefused) {
    const MadeRun made;
    for (const char* text : {"cheap",   "",          " ",      "2.10",       "2.10 ",   "EUR",     "EUR 2", "2,10 EUR",
                             "2.10EUR", "2.10  EUR", " 2 EUR", "2 EUR hour", "2 EUR ",  "2 ,10",   "2 10",  "2 /h",
                             "-1 EUR",  "-0 EUR",    "+1 EUR", "inf EUR",    "nan EUR", "0x2 EUR", "2\tEUR"}) {
        const Result result =
            *text == '-'
                ? kiban({"report", made.run_dir.string(), "-o", "/nowhere/x", std::string("--worker-hour=") + text})
                : kiban({"report", made.run_dir.string(), "-o", "/nowhere/x", "--worker-hour", text});
        EXPECT_EQ(result.exit_code, 64) << text;
        EXPECT_TRUE(
            contains(result.err, fmt::format("--worker-hour '{}': expected an amount with a decimal point", text)))
            << result.err;
    }
}

TEST(ReportCommand, APriceHasAnAmountAndTheReadersOwnUnit) {
    const MadeRun made;
    const fs::path page = made.root / "page.html";
    for (const char* text : {"2.10 EUR", "0 GPU-h", "1e3 \xE5\x86\x86", "3 $", ".5 \xE2\x82\xAC"}) {
        const Result result = kiban({"report", made.run_dir.string(), "-o", page.string(), "--worker-hour", text});
        EXPECT_EQ(result.exit_code, 0) << text << result.err;
    }
}

}  // namespace
}  // namespace kiban::coordinator
