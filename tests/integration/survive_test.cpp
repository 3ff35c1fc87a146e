// SPDX-License-Identifier: Apache-2.0
// What a run survives by itself, or ends of on purpose. The rows are those of the fault matrix in
// coordinator/SURVIVAL.md.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

#include "checkpoint/commit.h"
#include "checkpoint/reader.h"
#include "checkpoint/state.h"
#include "coordinator/launch/process_id.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "monitoring/file.h"
#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

using nlohmann::json;

constexpr std::uint64_t kBatch = 32;  // rows of a step

class Survive : public RunTest {
  protected:
    std::vector<json> entries(const std::string& run, const std::string& event) const {
        std::vector<json> found;
        for (const json& entry : coordinator::read_journal(coordinator::RunDirectory(dir_ / run).journal())) {
            if (entry.value("event", "") == event) found.push_back(entry);
        }
        return found;
    }

    std::vector<std::string> rules(const std::string& run) const {
        std::vector<std::string> words;
        for (const json& entry : entries(run, "decision")) words.push_back(entry.value("rule", ""));
        return words;
    }

    // Rows of the order that the newest checkpoint has behind it.
    std::uint64_t position(const std::string& run) const {
        const auto newest = checkpoint::newest_checkpoint(dir_ / run);
        if (!newest) return 0;
        return checkpoint::run_state_from_json(checkpoint::CheckpointReader(newest->directory).state()).position;
    }

    // The launcher of the run that this coordinator drives.
    static int launcher_of(const Process& coordinator) {
        for (const std::string& name : monitoring::names_in("/proc")) {
            if (name.find_first_not_of("0123456789") != std::string::npos) continue;
            std::ifstream file("/proc/" + name + "/stat");
            int pid = 0;
            int parent = 0;
            std::string command;
            std::string state;
            if (file >> pid >> command >> state >> parent && parent == coordinator.id() && command == "(mpirun)")
                return pid;
        }
        return 0;
    }
};

TEST_F(Survive, Row03AKilledLauncherLeavesNoWorkerBehindAndTheCurveAsItWouldHaveBeen) {
    ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
    const auto run = start(pretrain("killed", 2));
    ASSERT_TRUE(wait_for_step("killed", 50, *run));
    const auto worker = coordinator::find_process(worker_process("killed", 1));
    const int launcher = launcher_of(*run);
    ASSERT_NE(launcher, 0);
    ASSERT_EQ(::kill(launcher, SIGKILL), 0);
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return journaled("killed", "attempt_started") >= 2; }))
        << run->output();
    ASSERT_TRUE(worker);
    EXPECT_FALSE(coordinator::is_alive(*worker)) << "it could write beside its successor";
    EXPECT_EQ(run->wait(kPatienceSeconds), 0) << run->output();
    EXPECT_EQ(csv("killed"), csv("whole"));
    EXPECT_EQ(rules("killed"), std::vector<std::string>{"restart"});
}

TEST_F(Survive, Row04AStopOfThreeSecondsIsNoEventAndALongerOneIsNoticedAndNamed) {
    const auto run = start(pretrain("run", 2, {"--set", "supervise.hang_seconds=6", "--set", "train.steps=100000"}));
    ASSERT_TRUE(wait_for_step("run", 50, *run));
    const int victim = worker_process("run", 1);
    ASSERT_NE(victim, 0);
    ::kill(victim, SIGSTOP);
    std::this_thread::sleep_for(std::chrono::seconds(3));
    ::kill(victim, SIGCONT);
    ASSERT_TRUE(wait_for_step("run", last_step("run") + 50, *run));
    EXPECT_EQ(worker_process("run", 1), victim);
    EXPECT_TRUE(rules("run").empty()) << "a stopped second is no failure";

    ::kill(victim, SIGSTOP);
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return !rules("run").empty() || run->ended(); })) << run->output();
    const json decision = entries("run", "decision").front();
    EXPECT_EQ(decision.at("rule"), "restart");
    EXPECT_EQ(decision.at("place").at("worker"), 1) << decision;
    const std::string reason = decision.at("reason");
    EXPECT_TRUE(contains(reason, fmt::format("process {} is stopped", victim))) << reason;
    const std::uint64_t step = last_step("run");
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return worker_process("run", 1) != victim; }));
    EXPECT_TRUE(wait_for_step("run", step + 1, *run));
    EXPECT_TRUE(contains(kiban({"status", "run"}).output, "decision    restart: ")) << "people look there";
    run->send(SIGTERM);
    EXPECT_EQ(run->wait(kPatienceSeconds), 75) << run->output();
}

TEST_F(Survive, Row05ADeadlockIsNoticedThoughAllWorkersAreAliveAndTheReportSaysWhoIsWhere) {
    ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
    const auto marker = dir_ / "hung";
    const Ended ended = kiban(pretrain("run", 2, {"--set", "supervise.hang_seconds=5"}),
                              {{"KIBAN_FAULT", "step.reduce=hang@57"}, {"KIBAN_FAULT_ONCE", marker.string()}});
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
    const auto hangs = entries("run", "hang");
    ASSERT_EQ(hangs.size(), 1u);
    const std::string report = hangs[0].at("report");
    EXPECT_TRUE(contains(report, "no worker has moved for ")) << report;
    EXPECT_TRUE(contains(report, "in 'reduce' of step 57, collective ")) << report;
    EXPECT_EQ(entries("run", "decision").at(0).at("cause"), "hang");
    std::string stacks;
    for (const auto& place : std::filesystem::recursive_directory_iterator(dir_ / "run" / "logs")) {
        if (place.path().filename() == "stacks.txt") stacks = monitoring::read_text(place.path());
    }
    EXPECT_TRUE(contains(stacks, "worker 0")) << stacks;
    EXPECT_TRUE(contains(stacks, "worker 1")) << stacks;
    EXPECT_TRUE(contains(stacks, "fault_point")) << "that is where one of them stands:\n" << stacks;
    EXPECT_EQ(csv("run"), csv("whole"));
}

// Step 61 would be done with the batch at row 1920, which is not finite; so step 70 is done with that at 71 * 32.
TEST_F(Survive, Row19And20ANonFiniteStepIsSkippedByAllAPoisonedOneTheThirdTimeAndAResumeDecidesTheSame) {
    const std::uint64_t bad = 60 * kBatch;
    const std::uint64_t poisoned = 70 * kBatch;
    const Ended ended = kiban(pretrain("run", 2, {"--set", "checkpoint.interval_steps=0"}),
                              {{"KIBAN_FAULT", fmt::format("batch.{}=nan;batch.{}=kill", bad, poisoned)}});
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_EQ(rules("run"), (std::vector<std::string>{"restart", "rows_quarantined"}));
    const auto refused = entries("run", "step_refused");
    ASSERT_EQ(refused.size(), 3u) << "each attempt comes to it again";
    for (const json& one : refused) {
        EXPECT_EQ(one.at("step"), 61);
        EXPECT_EQ(one.at("position"), bad);
        EXPECT_EQ(one.at("kind"), "non_finite");
    }
    const auto left_out = entries("run", "rows_left_out");
    ASSERT_EQ(left_out.size(), 1u);
    EXPECT_EQ(left_out[0].at("first"), poisoned);
    EXPECT_EQ(left_out[0].at("count"), kBatch);
    EXPECT_EQ(left_out[0].at("why"), "quarantine");
    EXPECT_EQ(position("run"), (kSteps + 2) * kBatch) << "every other batch was trained, once";

    // The same two batches refused in one go: the run that was never killed.
    const Ended whole = kiban(pretrain("whole", 2, {"--set", "checkpoint.interval_steps=0"}),
                              {{"KIBAN_FAULT", fmt::format("batch.{}=nan;batch.{}=nan", bad, poisoned)}});
    ASSERT_EQ(whole.exit_code, 0) << whole.output;
    EXPECT_TRUE(rules("whole").empty());
    EXPECT_EQ(csv("run"), csv("whole"));
}

TEST_F(Survive, Row19ANonFiniteValueOfOneWorkerIsSeenByAll) {
    const auto marker = dir_ / "was";
    const Ended ended = kiban(pretrain("run", 2, {"--set", "train.steps=100"}),
                              {{"KIBAN_FAULT", "batch.1600=nan"}, {"KIBAN_FAULT_ONCE", marker.string()}});
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_EQ(entries("run", "step_refused").size(), 1u);
    EXPECT_TRUE(rules("run").empty()) << "nobody has to start again for that";
    EXPECT_EQ(position("run"), 101 * kBatch);
}

TEST_F(Survive, Row19ThreeRefusedStepsInARowGoBackToACheckpointBeforeThemAndLeaveOutRows) {
    const std::uint64_t first = 100 * kBatch;
    const Ended ended =
        kiban(pretrain("run", 2, {"--set", "anomaly.skip_steps=10", "--set", "checkpoint.promote_after_steps=1000"}),
              {{"KIBAN_FAULT",
                fmt::format("batch.{}=spike;batch.{}=nan;batch.{}=nan", first, first + kBatch, first + 2 * kBatch)}});
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_EQ(rules("run"), std::vector<std::string>{"rolled_back"});
    const auto refused = entries("run", "step_refused");
    ASSERT_EQ(refused.size(), 3u);
    for (const json& one : refused) EXPECT_EQ(one.at("step"), 101);
    EXPECT_EQ(refused[0].at("kind"), "loss_spike");
    ASSERT_EQ(entries("run", "rolled_back").size(), 1u);
    EXPECT_EQ(entries("run", "rolled_back")[0].at("to_step"), 80);
    const auto left_out = entries("run", "rows_left_out");
    ASSERT_EQ(left_out.size(), 1u);
    EXPECT_EQ(left_out[0].at("first"), first + 3 * kBatch - 10 * kBatch);
    EXPECT_EQ(left_out[0].at("count"), 10 * kBatch);
    EXPECT_EQ(last_step("run"), kSteps);
    EXPECT_EQ(position("run"), (kSteps + 10) * kBatch);
}

TEST_F(Survive, Row21ACrashLoopAtStartUpEndsWith93AfterThreeAttempts) {
    const Ended ended = kiban(pretrain("run", 1), {{"KIBAN_FAULT", "ckpt.payload=kill"}});  // of step 0
    EXPECT_EQ(ended.exit_code, 93) << ended.output;
    EXPECT_TRUE(contains(ended.output, "3 attempts in a row ended before they had done anything")) << ended.output;
    const auto decisions = entries("run", "decision");
    ASSERT_EQ(decisions.size(), 3u);
    EXPECT_EQ(decisions.back().at("exit_code"), 93);
    EXPECT_GT(decisions[1].at("backoff_seconds").get<double>(), decisions[0].at("backoff_seconds").get<double>());
}

}  // namespace
}  // namespace kiban::testing
