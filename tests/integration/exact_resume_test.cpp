// SPDX-License-Identifier: Apache-2.0
// A run that is killed again and again has the same curve, to the last digit, as one that is not.
#include <fmt/format.h>

#include <random>

#include "coordinator/launch/process_id.h"
#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

class ExactResume : public RunTest, public ::testing::WithParamInterface<int> {
  protected:
    // Kills a worker, chosen at random, once the run has done `step`.
    void kill_worker_at(const std::string& run, std::uint64_t step, Process& coordinator, std::mt19937& random) {
        if (!wait_for_step(run, step, coordinator)) return;
        const int rank = static_cast<int>(random() % static_cast<unsigned>(GetParam()));
        int victim = 0;
        ASSERT_TRUE(eventually(kPatienceSeconds,
                               [&] { return (victim = worker_process(run, rank)) != 0 || coordinator.ended(); }));
        ASSERT_NE(victim, 0) << coordinator.output();
        const std::size_t ends = journaled(run, "attempt_ended");
        ASSERT_EQ(::kill(victim, SIGKILL), 0);
        ASSERT_TRUE(eventually(kPatienceSeconds,
                               [&] { return journaled(run, "attempt_ended") > ends || coordinator.ended(); }));
    }
};

TEST_P(ExactResume, Row01ThreeKilledWorkersLeaveTheCurveAsItWouldHaveBeen) {
    ASSERT_EQ(kiban(pretrain("whole", GetParam())).exit_code, 0);
    const std::string whole = csv("whole");
    ASSERT_EQ(std::count(whole.begin(), whole.end(), '\n'), static_cast<std::ptrdiff_t>(kSteps) + 1);

    const unsigned seed = std::random_device()();
    SCOPED_TRACE(fmt::format("seed {}", seed));
    std::mt19937 random(seed);
    const auto coordinator = start(pretrain("killed", GetParam()), standing_still_before({70, 150, 230}));
    for (const std::uint64_t after : {5u, 90u, 170u}) {
        kill_worker_at("killed", after + random() % 60, *coordinator, random);
        if (HasFatalFailure()) return;
    }
    EXPECT_EQ(coordinator->wait(kPatienceSeconds), 0) << coordinator->output();
    EXPECT_EQ(journaled("killed", "attempt_ended"), 4u) << "three kills, and the end";
    EXPECT_EQ(csv("killed"), whole);
    EXPECT_GT(expect_each_training_from_the_newest("killed"), 0U);
    EXPECT_EQ(kiban({"verify", "killed"}).exit_code, 0);
}

class ExactResumeSoak : public ExactResume {};

TEST_P(ExactResumeSoak, AKilledWorkerLeavesTheCurveOfMuonAsItWouldHaveBeen) {
    const std::vector<std::string> muon = {
        "--set", "train.optimizer.name=muon", "--set", "parallel.zero=3", "--set", "train.steps=150"};
    ASSERT_EQ(kiban(pretrain("whole", GetParam(), muon)).exit_code, 0);
    const std::string whole = csv("whole");
    ASSERT_EQ(std::count(whole.begin(), whole.end(), '\n'), 151);
    std::mt19937 random(1);
    const auto coordinator = start(pretrain("killed", GetParam(), muon), standing_still_before({70}));
    kill_worker_at("killed", 60, *coordinator, random);
    if (HasFatalFailure()) return;
    EXPECT_EQ(coordinator->wait(kPatienceSeconds), 0) << coordinator->output();
    EXPECT_EQ(journaled("killed", "attempt_ended"), 2u) << "one kill, and the end";
    EXPECT_EQ(csv("killed"), whole);
    EXPECT_GT(expect_each_training_from_the_newest("killed"), 0U);
    EXPECT_EQ(kiban({"verify", "killed"}).exit_code, 0);
}

TEST_P(ExactResume, Row01AWorkerThatDiesInTheMiddleOfAnUpdateOrOfASaveChangesNothing) {
    ASSERT_EQ(kiban(pretrain("whole", GetParam())).exit_code, 0);
    for (const char* fault : {"step.update=kill@57", "ckpt.payload=kill@3"}) {
        const std::string run = fmt::format("dies at {}", fault);
        const auto marker = dir_ / fmt::format("{} was", fault);
        const Ended ended =
            kiban(pretrain(run, GetParam()), {{"KIBAN_FAULT", fault}, {"KIBAN_FAULT_ONCE", marker.string()}});
        EXPECT_EQ(ended.exit_code, 0) << ended.output;
        EXPECT_TRUE(std::filesystem::exists(marker)) << "the fault never fired";
        EXPECT_EQ(journaled(run, "attempt_ended"), 2u);
        EXPECT_EQ(csv(run), csv("whole"));
        expect_each_training_from_the_newest(run);
    }
}

INSTANTIATE_TEST_SUITE_P(Workers, ExactResume, ::testing::Values(2));
INSTANTIATE_TEST_SUITE_P(OneWorkerSoak, ExactResume, ::testing::Values(1));
INSTANTIATE_TEST_SUITE_P(Workers, ExactResumeSoak, ::testing::Values(1, 2));

class CoordinatorDeath : public RunTest {};

TEST_F(CoordinatorDeath, Row02TheWorkersDieWithItAndTheSameCommandGoesOn) {
    ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
    const auto first = start(pretrain("orphaned", 2), standing_still_before({110}));
    ASSERT_TRUE(wait_for_step("orphaned", 100, *first));
    const auto before = status("orphaned");
    ASSERT_TRUE(before.has_value());
    first->send(SIGKILL);
    EXPECT_EQ(first->wait(10), 137);
    ASSERT_EQ(before->workers.size(), 2u);
    for (const auto& worker : before->workers) {
        EXPECT_TRUE(eventually(20, [&] { return !coordinator::find_process(worker.pid, "kiban-worker"); }))
            << "an orphan lives";
    }
    const Ended second = kiban(pretrain("orphaned", 2));
    EXPECT_EQ(second.exit_code, 0) << second.output;
    EXPECT_TRUE(contains(second.output, "resuming from step")) << second.output;
    EXPECT_EQ(csv("orphaned"), csv("whole"));
}

TEST_F(CoordinatorDeath, Row02AtEveryPointOfACommitEitherTheOldOrTheNewCheckpointGoesOn) {
    ASSERT_EQ(kiban(pretrain("whole", 1)).exit_code, 0);
    // Of the second save: each passes the first two points twice.
    for (const char* fault : {"ckpt.manifest=kill@4", "ckpt.commit_record=kill@4", "ckpt.rename=kill@2"}) {
        const std::string run = fmt::format("dies at {}", fault);
        const Ended first = kiban(pretrain(run, 1), {{"KIBAN_FAULT", fault}});
        EXPECT_EQ(first.exit_code, 137) << first.output;
        const Ended second = kiban(pretrain(run, 1));
        EXPECT_EQ(second.exit_code, 0) << second.output;
        EXPECT_EQ(csv(run), csv("whole")) << fault;
    }
}

}  // namespace
}  // namespace kiban::testing
