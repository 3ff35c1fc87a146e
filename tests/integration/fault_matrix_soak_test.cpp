// SPDX-License-Identifier: Apache-2.0
// Rows of the fault matrix (coordinator/SURVIVAL.md) at every rank and in every phase of a step, idle and while a
// checkpoint is being written. By name: each takes minutes.
#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <fstream>

#include "checkpoint/commit.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "monitoring/file.h"
#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

struct Moment {
    const char* point;
    bool saving;  // while the checkpoint of step 40 is being written
};

class FaultMatrixSoak : public RunTest {
  protected:
    // Slow enough that the checkpoint of step 40 is still being written at step 57.
    static std::vector<std::string> settings(bool saving) {
        std::vector<std::string> all = {"--set", "train.steps=120",         "--set", "train.eval_interval_steps=0",
                                        "--set", "supervise.hang_seconds=5"};
        if (saving) all.insert(all.end(), {"--set", "checkpoint.max_mib_per_second=0.02"});
        return all;
    }
    // A run in which the fault hits one rank once; its curve is the whole one's.
    void hit(const Moment& moment, const char* action, int rank, const std::string& whole) {
        const std::string run =
            fmt::format("{} {} {} {}", moment.point, action, rank, moment.saving ? "saving" : "idle");
        SCOPED_TRACE(run);
        const auto marker = dir_ / (run + " was");
        const bool of_step = std::string(moment.point).starts_with("step.");
        const Ended ended = kiban(pretrain(run, 2, settings(moment.saving)),
                                  {{"KIBAN_FAULT", fmt::format("{}={}@{}", moment.point, action, of_step ? 57 : 2)},
                                   {"KIBAN_FAULT_RANK", fmt::format("{}", rank)},
                                   {"KIBAN_FAULT_ONCE", marker.string()}});
        EXPECT_EQ(ended.exit_code, 0) << ended.output;
        EXPECT_TRUE(std::filesystem::exists(marker)) << "the fault never fired";
        EXPECT_EQ(journaled(run, "decision"), 1u) << ended.output;
        EXPECT_EQ(csv(run), whole);
        EXPECT_TRUE(monitoring::names_in(dir_ / run / "ckpt" / ".staging").empty()) << "swept";
        EXPECT_EQ(kiban({"verify", run}).exit_code, 0);
        for (const auto& entry : coordinator::read_journal(coordinator::RunDirectory(dir_ / run).journal())) {
            if (entry.value("event", "") != "decision") continue;
            EXPECT_EQ(entry.at("rule"), "restart") << entry;
        }
    }
    static std::vector<Moment> moments() {
        std::vector<Moment> all = {{"ckpt.payload", true}, {"ckpt.fsync", true}};
        for (const char* point : {"step.data", "step.forward", "step.reduce", "step.update"}) {
            for (const bool saving : {false, true}) all.push_back({point, saving});
        }
        return all;
    }
    std::string whole() {
        EXPECT_EQ(kiban(pretrain("whole", 2, settings(false))).exit_code, 0);
        return csv("whole");
    }
};

TEST_F(FaultMatrixSoak, Row01AnyRankKilledInAnyPhaseIdleOrInASaveLeavesTheCurveAsItWouldHaveBeen) {
    const std::string expected = whole();
    for (const Moment& moment : moments()) {
        for (const int rank : {0, 1}) hit(moment, "kill", rank, expected);
    }
}

TEST_F(FaultMatrixSoak, Row04AnyRankStoppedInAnyPhaseIdleOrInASaveIsNoticedAndStartedAgain) {
    const std::string expected = whole();
    for (const Moment& moment : moments()) hit(moment, "stop", 1, expected);
}

TEST_F(FaultMatrixSoak, Row03ALauncherKilledDuringASaveLeavesNoHalfCheckpoint) {
    const std::string expected = whole();
    const auto run = start(pretrain("run", 2, settings(true)));
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] {
        return (status("run") && status("run")->checkpoint_queued_step == 40) || run->ended();
    }));
    int launcher = 0;
    for (const std::string& name : monitoring::names_in("/proc")) {
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        std::ifstream file("/proc/" + name + "/stat");
        int pid = 0;
        int parent = 0;
        std::string command;
        std::string state;
        if (file >> pid >> command >> state >> parent && parent == run->id() && command == "(mpirun)") launcher = pid;
    }
    ASSERT_NE(launcher, 0) << run->output();
    ASSERT_EQ(::kill(launcher, SIGKILL), 0);
    EXPECT_EQ(run->wait(kPatienceSeconds), 0) << run->output();
    EXPECT_EQ(journaled("run", "decision"), 1u);
    EXPECT_EQ(csv("run"), expected);
    EXPECT_TRUE(monitoring::names_in(dir_ / "run" / "ckpt" / ".staging").empty());
    EXPECT_EQ(kiban({"verify", "run"}).exit_code, 0);
}

// A step takes longer than the job has left: no half a checkpoint, the one before stands, and there is time to leave.
TEST_F(FaultMatrixSoak, Row15WithFiveSecondsLeftAndAStepThatDoesNotEndTheLastCheckpointStandsAndTheRunLeavesInTime) {
    ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
    ASSERT_EQ(kiban({"prepare", "run.toml", "--run-dir", "run", "--workers", "2"}).exit_code, 0);
    const auto end = std::chrono::system_clock::now() + std::chrono::seconds(25);
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(end.time_since_epoch()).count();
    const Ended cut = kiban(pretrain("run", 2), {{"SLURM_JOB_END_TIME", fmt::format("{}", seconds)},
                                                 {"KIBAN_FAULT", "step.forward=delay120@2"}});
    EXPECT_LT(std::chrono::system_clock::now(), end);
    EXPECT_EQ(cut.exit_code, 75) << cut.output;
    EXPECT_TRUE(contains(cut.output, "the time is up before everything is saved")) << cut.output;
    const auto newest = checkpoint::newest_checkpoint(dir_ / "run");
    ASSERT_TRUE(newest);
    EXPECT_EQ(newest->step, 0u);
    EXPECT_EQ(kiban({"verify", "run"}).exit_code, 0);
    EXPECT_EQ(kiban(pretrain("run", 2)).exit_code, 0);
    EXPECT_EQ(csv("run"), csv("whole"));
}

TEST_F(FaultMatrixSoak, Row20PoisonWithoutEndIsNotLeftOutForEverButEndsWith93) {
    std::string faults;
    for (const int step : {20, 22, 24}) faults += fmt::format("{}batch.{}=kill", faults.empty() ? "" : ";", step * 32);
    const Ended ended =
        kiban(pretrain("run", 2, {"--set", "checkpoint.interval_steps=0", "--set", "supervise.max_quarantines=2"}),
              {{"KIBAN_FAULT", faults}});
    EXPECT_EQ(ended.exit_code, 93) << ended.output;
    EXPECT_EQ(journaled("run", "rows_left_out"), 2u);
    EXPECT_TRUE(contains(ended.output, "the rows of 2 steps are left out already")) << ended.output;
}

}  // namespace
}  // namespace kiban::testing
