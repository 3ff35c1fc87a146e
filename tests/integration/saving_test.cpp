// SPDX-License-Identifier: Apache-2.0
// Checkpoints beside training, in whole runs: what fails costs a checkpoint, what is queued is not called durable.
#include <fmt/format.h>

#include <csignal>

#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

class SavingBeside : public RunTest {
  protected:
    // Longer than the shard takes at the limit that the tests set.
    static std::vector<std::string> long_run(const std::string& run, std::vector<std::string> more = {}) {
        more.insert(more.end(), {"--set", "train.steps=1500", "--set", "train.eval_interval_steps=0"});
        return pretrain(run, 1, std::move(more));
    }
    static std::vector<std::string> slow_disk() { return {"--set", "checkpoint.max_mib_per_second=0.06"}; }

    std::vector<nlohmann::json> entries(const std::string& run, const std::string& event) const {
        std::vector<nlohmann::json> found;
        for (auto& entry : coordinator::read_journal(coordinator::RunDirectory(dir_ / run).journal())) {
            if (entry.value("event", "") == event) found.push_back(std::move(entry));
        }
        return found;
    }

    void wait_until_queued(const std::string& run, Process& coordinator) const {
        ASSERT_TRUE(wait_for_step(run, 45, coordinator));
        ASSERT_TRUE(eventually(kPatienceSeconds, [&] {
            const auto now = status(run);
            return (now && now->checkpoint_queued) || coordinator.ended();
        })) << coordinator.output();
        const auto now = status(run);
        ASSERT_TRUE(now.has_value());
        EXPECT_EQ(now->checkpoint_queued_step, 40u);
        EXPECT_EQ(now->checkpoint_step, 0u) << "queued is not durable";
        EXPECT_EQ(now->state, "training");
    }
};

TEST_F(SavingBeside, Row07TwoSavesThatFailCostTheirCheckpointsAloneAndAThirdInARowEndsTheRun) {
    ASSERT_EQ(kiban(pretrain("whole", 1)).exit_code, 0);
    const Ended two = kiban(pretrain("two", 1), {{"KIBAN_FAULT", "ckpt.fsync=eio@2;ckpt.fsync=eio@3"}});
    EXPECT_EQ(two.exit_code, 0) << two.output;
    EXPECT_EQ(journaled("two", "checkpoint_failed"), 2u);
    EXPECT_EQ(journaled("two", "attempt_ended"), 1u) << "training went on";
    EXPECT_EQ(csv("two"), csv("whole"));

    const Ended three =
        kiban(pretrain("three", 1), {{"KIBAN_FAULT", "ckpt.fsync=eio@2;ckpt.fsync=eio@3;ckpt.fsync=eio@4"}});
    EXPECT_EQ(three.exit_code, 74) << three.output;
    EXPECT_EQ(journaled("three", "checkpoint_failed"), 3u);
    EXPECT_EQ(journaled("three", "attempt_ended"), 1u) << "not started again";
    EXPECT_TRUE(contains(three.output, "3 checkpoints one after another could not be made durable")) << three.output;
    EXPECT_TRUE(contains(three.output, "Input/output error")) << three.output;
}

TEST_F(SavingBeside, AStopDuringAWriteSavesBothAndAWorkerKilledDuringOneLeavesTheOlderCheckpoint) {
    ASSERT_EQ(kiban(long_run("whole")).exit_code, 0);
    const auto stopped = start(long_run("stopped", slow_disk()));
    wait_until_queued("stopped", *stopped);
    if (HasFatalFailure()) return;
    stopped->send(SIGTERM);
    EXPECT_EQ(stopped->wait(kPatienceSeconds), 75) << stopped->output();
    EXPECT_EQ(entries("stopped", "checkpoint").size(), 3u) << "step 0, the one under way, that of the stop";
    EXPECT_EQ(kiban(long_run("stopped")).exit_code, 0);
    EXPECT_EQ(csv("stopped"), csv("whole"));

    const auto killed = start(long_run("killed", slow_disk()));
    wait_until_queued("killed", *killed);
    if (HasFatalFailure()) return;
    const int worker = worker_process("killed", 0);
    ASSERT_NE(worker, 0);
    ASSERT_EQ(::kill(worker, SIGKILL), 0);
    EXPECT_EQ(killed->wait(kPatienceSeconds), 0) << killed->output();
    ASSERT_EQ(entries("killed", "training").size(), 2u);
    EXPECT_EQ(entries("killed", "training")[1].at("from_step"), 0u);
    EXPECT_EQ(csv("killed"), csv("whole"));
    EXPECT_EQ(kiban({"verify", "killed"}).exit_code, 0);
}

TEST_F(SavingBeside, Row12WhatIsDueDuringASlowWriteIsSkippedAndJournaled) {
    const Ended ended = kiban(pretrain("slow", 1, slow_disk()));
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    const auto skipped = entries("slow", "checkpoint_skipped");
    ASSERT_FALSE(skipped.empty());
    EXPECT_EQ(skipped[0].at("step"), 80u);
    EXPECT_EQ(skipped[0].at("under_way"), 40u);
    std::vector<std::uint64_t> saved;
    for (const auto& entry : entries("slow", "checkpoint")) saved.push_back(entry.at("step"));
    EXPECT_EQ(saved.front(), 0u);
    EXPECT_EQ(saved.back(), kSteps);
    EXPECT_EQ(saved.size() + skipped.size(), 9u) << "step 0, each 40 steps, and the last one";
}

TEST_F(SavingBeside, AnAutomaticIntervalBeginsShortAndIsJournaledWithItsReasons) {
    ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
    const Ended ended =
        kiban(pretrain("auto", 2,
                       {"--set", "checkpoint.interval_steps=auto", "--set", "checkpoint.min_interval_steps=20", "--set",
                        "checkpoint.max_interval_steps=100"}));
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    const auto chosen = entries("auto", "checkpoint_interval");
    ASSERT_GE(chosen.size(), 2U) << "the first, and one by what was measured";
    EXPECT_EQ(chosen[0].at("steps"), 20u);
    for (std::size_t i = 1; i < chosen.size(); ++i) {
        EXPECT_GT(chosen[i].at("save_seconds").get<double>(), 0.0);
        EXPECT_GT(chosen[i].at("step_seconds").get<double>(), 0.0);
        EXPECT_GE(chosen[i].at("seconds_between_failures").get<double>(), 24 * 3600.0);
    }
    const auto saved = entries("auto", "checkpoint");
    ASSERT_GE(saved.size(), 3u);
    EXPECT_GE(saved[1].at("step"), 20u);
    EXPECT_EQ(csv("auto"), csv("whole"));
}

}  // namespace
}  // namespace kiban::testing
