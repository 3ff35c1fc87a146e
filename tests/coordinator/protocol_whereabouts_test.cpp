// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "coordinator/protocol/whereabouts.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

class WhereaboutsTest : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "kiban-at-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        directory_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }
    std::filesystem::path directory_;
};

TEST_F(WhereaboutsTest, OutliveAKillInTheMiddleOfAStep) {
    const auto file = whereabouts_file(directory_, 3);
    EXPECT_EQ(file.filename(), "worker-3.at");
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        WhereaboutsFile here(file);
        here.enter("data", 57);
        here.set_position(1792);
        here.enter("forward", 57);
        ::kill(::getpid(), SIGKILL);
    }
    ::waitpid(child, nullptr, 0);
    const auto there = read_whereabouts(file);
    ASSERT_TRUE(there);
    EXPECT_EQ(there->phase, "forward");
    EXPECT_EQ(there->step, 57u);
    EXPECT_EQ(there->position, 1792u);
}

TEST_F(WhereaboutsTest, AFileThatIsMissingOrNoneOfOursTellsNothing) {
    EXPECT_FALSE(read_whereabouts(directory_ / "worker-0.at"));
    std::ofstream(directory_ / "worker-0.at") << std::string(64, 'x');
    EXPECT_FALSE(read_whereabouts(directory_ / "worker-0.at"));
    std::ofstream(directory_ / "worker-0.at") << "short";
    EXPECT_FALSE(read_whereabouts(directory_ / "worker-0.at"));
    EXPECT_FALSE(read_whereabouts(directory_)) << "a directory";
}

TEST_F(WhereaboutsTest, WhatCannotBeMadeIsAnIoError) {
    EXPECT_THROW(WhereaboutsFile(directory_ / "missing" / "worker-0.at"), IoError);
}

TEST_F(WhereaboutsTest, ALongPhaseIsCut) {
    WhereaboutsFile here(directory_ / "worker-0.at");
    here.enter("a phase whose name is longer than its place", 1);
    EXPECT_EQ(read_whereabouts(directory_ / "worker-0.at")->phase, "a phase whose name is l");
}

}  // namespace
}  // namespace kiban::coordinator
