// SPDX-License-Identifier: Apache-2.0
// The files of a run directory: journal, status, identity. The lease: run_lease_test.cpp.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "coordinator/run/speed.h"
#include "coordinator/run/status.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::coordinator {
namespace {

using nlohmann::json;

class RunFiles : public ::testing::Test {
  protected:
    const monitoring::TempDirectory directory_;
    const std::filesystem::path& dir_ = directory_.path();
};

using JournalTest = RunFiles;
using StatusTest = RunFiles;
using RunDirectoryTest = RunFiles;

TEST_F(JournalTest, EntriesComeBackInOrderWithTimeAndAttempt) {
    {
        Journal journal(dir_ / "journal.jsonl");
        journal.set_attempt(3);
        journal.add("began", {{"workers", 2}});
        journal.add("ended");
    }
    const auto entries = read_journal(dir_ / "journal.jsonl");
    ASSERT_EQ(entries.size(), 2u);
    EXPECT_EQ(entries[0]["event"], "began");
    EXPECT_EQ(entries[0]["workers"], 2);
    EXPECT_EQ(entries[1]["attempt"], 3);
    EXPECT_NE(describe(entries[0]).find("Z began attempt=3 workers=2"), std::string::npos) << describe(entries[0]);
    const std::string time = entries[0]["time"];
    EXPECT_EQ(time.size(), std::string("2026-01-01T00:00:00.000Z").size()) << time;
}

TEST_F(JournalTest, ALineTornByACrashIsEndedAndLeftOut) {
    std::ofstream(dir_ / "journal.jsonl") << "{\"event\": \"whole\"}\n{\"event\": \"to";
    Journal(dir_ / "journal.jsonl").add("next");
    const auto entries = read_journal(dir_ / "journal.jsonl");
    ASSERT_EQ(entries.size(), 2u);
    EXPECT_EQ(entries[0]["event"], "whole");
    EXPECT_EQ(entries[1]["event"], "next");
}

TEST_F(JournalTest, AMissingJournalIsEmpty) { EXPECT_TRUE(read_journal(dir_ / "none").empty()); }

TEST_F(StatusTest, ComesBackAsItWasWritten) {
    RunStatus status;
    status.run = "char";
    status.state = "training";
    status.step = 7;
    status.loss = 2.5;
    status.workers = {{.rank = 1, .host = "n1", .pid = 12, .phase = "forward", .step = 7}};
    write_status(dir_ / "status.json", status);
    write_status(dir_ / "status.json", status);
    const auto back = read_status(dir_ / "status.json");
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(to_json(*back), to_json(status));
    EXPECT_TRUE(std::isnan(back->eval_loss));  // never evaluated: not in the file
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_), {}), 1);
}

TEST_F(StatusTest, WhatIsNoStatusIsNone) {
    EXPECT_FALSE(read_status(dir_ / "status.json").has_value());
    std::ofstream(dir_ / "status.json") << "{\"step\": \"seven\"}";
    EXPECT_FALSE(read_status(dir_ / "status.json").has_value());
}

TEST_F(RunDirectoryTest, TheRunsIdIsMadeOnceAndRandom) {
    const std::string id = RunDirectory(dir_ / "a/b").open_or_create();
    EXPECT_EQ(id.size(), 16u);
    EXPECT_EQ(RunDirectory(dir_ / "a/b").open_or_create(), id);
    EXPECT_NE(RunDirectory(dir_ / "c").open_or_create(), id);
}

TEST_F(RunDirectoryTest, StartingOverMovesTheOldThingsAside) {
    const RunDirectory directory(dir_);
    std::filesystem::create_directories(dir_ / "ckpt/step-1");
    std::filesystem::create_directories(dir_ / "curve");
    EXPECT_EQ(directory.set_aside(4), (std::vector<std::string>{"ckpt", "curve"}));
    EXPECT_TRUE(std::filesystem::exists(dir_ / "old-4/ckpt/step-1"));
    EXPECT_FALSE(std::filesystem::exists(dir_ / "ckpt"));
}

TEST_F(RunDirectoryTest, TheCorpusReferenceComesBackAndItsAbsenceIsSaid) {
    const RunDirectory directory(dir_);
    EXPECT_THROW(read_corpus_reference(directory), ConfigError);
    write_corpus_reference(directory, {"/corpora/x/manifest.json", "abc"});
    EXPECT_EQ(read_corpus_reference(directory).manifest, "/corpora/x/manifest.json");
    EXPECT_EQ(read_corpus_reference(directory).digest, "abc");
}

TEST_F(RunDirectoryTest, AnotherFormatIsRefusedNamingBoth) {
    RunDirectory directory(dir_);
    std::ofstream(directory.corpus()) << R"({"format": 2, "manifest": "/m", "digest": "d"})";
    try {
        (void)read_corpus_reference(directory);
        FAIL() << "it was read";
    } catch (const ConfigError& error) {
        EXPECT_EQ(std::string(error.what()),
                  fmt::format("cannot understand '{}': format 2, this version reads 1", directory.corpus().string()));
    }
    std::ofstream(directory.identity()) << R"({"run": "0123456789abcdef"})";
    EXPECT_THROW((void)directory.open_or_create(), ConfigError);
}

TEST(Speed, IsThatOfTheLastSeconds) {
    Speed speed;
    EXPECT_EQ(speed.tokens_per_second(), 0);
    for (int i = 0; i <= 100; ++i)
        speed.add(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(i) * 50, 10 + i * 0.5);  // 100 tokens/s
    EXPECT_NEAR(speed.tokens_per_second(), 100, 1e-9);
    EXPECT_NEAR(speed.seconds_to(120), 10, 1e-9);
    EXPECT_EQ(speed.seconds_to(100), 0);
    for (int i = 1; i <= 60; ++i)
        speed.add(static_cast<std::uint64_t>(100 + i), 5000 + static_cast<std::uint64_t>(i) * 200, 60 + i * 0.5);
    EXPECT_NEAR(speed.tokens_per_second(), 400, 1e-9);  // the slow part has left the window
    speed.restart();
    EXPECT_EQ(speed.tokens_per_second(), 0);
}

}  // namespace
}  // namespace kiban::coordinator
