// SPDX-License-Identifier: Apache-2.0
// Rows of the fault matrix (coordinator/SURVIVAL.md) at every rank and in every phase of a step, idle and while a
// checkpoint is being written. By name: each takes minutes.
#include <fmt/format.h>

#include <chrono>
#include <csignal>

#include "checkpoint/commit.h"
#include "checkpoint/manifest.h"
#include "checkpoint/shard.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "monitoring/file.h"
#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

struct Moment {
    const char* point;
    int call;     // of the point, in one process
    bool saving;  // while the checkpoint of step 40 is being written
};

class FaultMatrixSoak : public RunTest {
  protected:
    static std::vector<std::string> settings() {
        return {"--set", "train.steps=120",         "--set", "train.eval_interval_steps=57",
                "--set", "supervise.hang_seconds=5"};
    }
    // Three seconds before step 50: the checkpoint of step 40 is durable then.
    static constexpr const char* kIdle = "step.data=delay3@50";
    // The second save of a process is that of step 40. Held up for two seconds it is still under way at step 57.
    static std::string faults(const Moment& moment, const char* action) {
        const std::string fault = fmt::format("{}={}@{}", moment.point, action, moment.call);
        if (std::string_view(moment.point).starts_with("ckpt.")) return fault;
        return fmt::format("{};{}", moment.saving ? "ckpt.fsync=delay2@2" : kIdle, fault);
    }
    // A run in which the fault hits one rank once; its curve is the whole one's.
    void hit(const Moment& moment, const char* action, int rank, const std::string& whole) {
        const std::string run =
            fmt::format("{} {} {} {}", moment.point, action, rank, moment.saving ? "saving" : "idle");
        hit(run, moment, action, rank, whole);
    }
    void hit(const std::string& run, const Moment& moment, const char* action, int rank, const std::string& whole) {
        SCOPED_TRACE(run);
        const auto marker = dir_ / (run + " was");
        const std::size_t decisions = std::filesystem::exists(dir_ / run) ? journaled(run, "decision") : 0;
        const Ended ended = kiban(pretrain(run, 2, settings()), {{"KIBAN_FAULT", faults(moment, action)},
                                                                 {"KIBAN_FAULT_RANK", fmt::format("{}", rank)},
                                                                 {"KIBAN_FAULT_ONCE", marker.string()}});
        EXPECT_EQ(ended.exit_code, 0) << ended.output;
        EXPECT_TRUE(std::filesystem::exists(marker)) << "the fault never fired";
        EXPECT_EQ(journaled(run, "decision") - decisions, 1u) << ended.output;
        EXPECT_EQ(csv(run), whole);
        const std::uint64_t began = expect_each_training_from_the_newest(run);
        if (moment.saving && began > 0) {  // a stopped rank goes on before it is ended: what it had under way may end
            EXPECT_EQ(action, std::string("stop"));
            EXPECT_GT(seconds_of_save(run, began), 4) << "longer than the hold-up: it was under way at the stop";
        } else {
            EXPECT_EQ(began, moment.saving ? 0U : 40U) << "what was durable is not done again";
        }
        EXPECT_TRUE(monitoring::names_in(dir_ / run / "ckpt" / ".staging").empty()) << "swept";
        EXPECT_EQ(kiban({"verify", run}).exit_code, 0);
        const nlohmann::json decision = last_decision(run);
        ASSERT_TRUE(decision.is_object());
        EXPECT_EQ(decision.at("rule"), "restart");
        if (action == std::string("stop")) {  // the one that fell silent is the one that stands still
            EXPECT_EQ(decision.at("cause"), "worker_lost") << decision;
            ASSERT_TRUE(decision.contains("place")) << decision;
            EXPECT_EQ(decision.at("place").at("worker"), rank) << decision;
        }
    }
    double seconds_of_save(const std::string& run, std::uint64_t step) const {
        for (const auto& entry : coordinator::read_journal(coordinator::RunDirectory(dir_ / run).journal()))
            if (entry.value("event", "") == "checkpoint" && entry.at("step") == step) return entry.at("seconds");
        return 0;
    }
    nlohmann::json last_decision(const std::string& run) const {
        nlohmann::json last;
        for (const auto& entry : coordinator::read_journal(coordinator::RunDirectory(dir_ / run).journal()))
            if (entry.value("event", "") == "decision") last = entry;
        return last;
    }
    // Pieces that a rank writes in one save.
    int pieces(int rank) const {
        const auto newest = checkpoint::newest_checkpoint(dir_ / "whole");
        if (!newest) return 0;
        const checkpoint::Manifest manifest = checkpoint::load_committed(newest->directory).manifest;
        int count = 0;
        for (const auto& tensor : manifest.tensors) {
            for (const auto& box : tensor.boxes)
                count += manifest.files[box.file].name == checkpoint::shard_file_name(rank) ? 1 : 0;
        }
        return count;
    }
    std::vector<Moment> moments(int rank) const {
        std::vector<Moment> all = {{"ckpt.payload", pieces(rank) + 2, true}, {"ckpt.fsync", 2, true}};
        for (const bool saving : {false, true}) {
            for (const char* point : {"step.data", "step.forward", "step.backward", "step.reduce", "step.update"})
                all.push_back({point, 57, saving});
            all.push_back({"step.evaluate", 1, saving});
        }
        return all;
    }
    // A job that ends in 25 seconds, and something that takes longer.
    void expect_leaves_in_time(const std::string& fault, const std::string& words) {
        ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
        ASSERT_EQ(kiban({"prepare", "run.toml", "--run-dir", "run", "--workers", "2"}).exit_code, 0);
        const auto end = std::chrono::system_clock::now() + std::chrono::seconds(25);
        const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(end.time_since_epoch()).count();
        const Ended cut =
            kiban(pretrain("run", 2), {{"SLURM_JOB_END_TIME", fmt::format("{}", seconds)}, {"KIBAN_FAULT", fault}});
        EXPECT_LT(std::chrono::system_clock::now(), end);
        EXPECT_EQ(cut.exit_code, 75) << cut.output;
        EXPECT_TRUE(contains(cut.output, words)) << cut.output;
        const auto newest = checkpoint::newest_checkpoint(dir_ / "run");
        ASSERT_TRUE(newest);
        EXPECT_EQ(newest->step, 0u);
        EXPECT_EQ(kiban({"verify", "run"}).exit_code, 0);
        EXPECT_EQ(kiban(pretrain("run", 2)).exit_code, 0);
        EXPECT_EQ(csv("run"), csv("whole"));
    }
    std::string whole() {
        EXPECT_EQ(kiban(pretrain("whole", 2, settings())).exit_code, 0);
        return csv("whole");
    }
};

TEST_F(FaultMatrixSoak, Row01AnyRankKilledInAnyPhaseIdleOrInASaveLeavesTheCurveAsItWouldHaveBeen) {
    const std::string expected = whole();
    for (const int rank : {0, 1}) {
        for (const Moment& moment : moments(rank)) hit(moment, "kill", rank, expected);
    }
}

TEST_F(FaultMatrixSoak, Row04AnyRankStoppedInAnyPhaseIdleOrInASaveIsNoticedAndStartedAgain) {
    const std::string expected = whole();
    for (const int rank : {0, 1}) {
        for (const Moment& moment : moments(rank)) hit(moment, "stop", rank, expected);
    }
}

TEST_F(FaultMatrixSoak, Row01And04AnyRankKilledOrStoppedWhileACheckpointIsLoadedLeavesTheCurveAsItWouldHaveBeen) {
    const std::string expected = whole();
    for (const char* action : {"kill", "stop"}) {
        for (const int rank : {0, 1}) {
            const std::string run = fmt::format("load {} {}", action, rank);
            std::vector<std::string> once = settings();
            once.insert(once.end(), {"--set", "launch.max_restarts=0"});
            ASSERT_EQ(kiban(pretrain(run, 2, once), {{"KIBAN_FAULT", fmt::format("{};step.update=kill@57", kIdle)}})
                          .exit_code,
                      93);
            hit(run, {"load.read", 1, false}, action, rank, expected);
        }
    }
}

TEST_F(FaultMatrixSoak, Row03ALauncherKilledDuringASaveLeavesNoHalfCheckpoint) {
    const std::string expected = whole();
    const auto run = start(pretrain("run", 2, settings()), {{"KIBAN_FAULT", "ckpt.fsync=delay3@2"}});
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] {
        return (status("run") && status("run")->checkpoint_queued_step == 40) || run->ended();
    }));
    const int launcher = launcher_of(run->id());
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
    expect_leaves_in_time("step.forward=delay120@2", "the time is up before everything is saved");
}

// The same, but it is the commit of a checkpoint that does not end; it passes the point twice a save.
TEST_F(FaultMatrixSoak, Row15WhereACommitDoesNotEndTheCheckpointBeforeStandsAndTheRunLeavesInTime) {
    expect_leaves_in_time("ckpt.manifest=delay120@3", "still holds this coordinator up: leaving with what is durable");
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
