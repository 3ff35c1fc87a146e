// SPDX-License-Identifier: Apache-2.0
// What a run survives by itself, or ends of on purpose. The rows are those of the fault matrix in
// coordinator/SURVIVAL.md.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <regex>
#include <thread>

#include "checkpoint/commit.h"
#include "checkpoint/reader.h"
#include "checkpoint/state.h"
#include "coordinator/launch/process_id.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "monitoring/curve.h"
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

    // Steps of the entries of one event before the first one of another.
    std::vector<std::uint64_t> steps_before(const std::string& run, const std::string& event,
                                            const std::string& until) const {
        std::vector<std::uint64_t> steps;
        for (const json& entry : coordinator::read_journal(coordinator::RunDirectory(dir_ / run).journal())) {
            const std::string found = entry.value("event", "");
            if (found == until) break;
            if (found == event) steps.push_back(entry.at("step").get<std::uint64_t>());
        }
        return steps;
    }

    // Rows of the order that the newest checkpoint has behind it.
    std::uint64_t position(const std::string& run) const {
        const auto newest = checkpoint::newest_checkpoint(dir_ / run);
        if (!newest) return 0;
        return checkpoint::run_state_from_json(checkpoint::CheckpointReader(newest->directory).state()).position;
    }
};

class SurviveSoak : public Survive {};

TEST_F(Survive, Row03AKilledLauncherLeavesNoWorkerBehindAndTheCurveAsItWouldHaveBeen) {
    ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
    const auto run = start(pretrain("killed", 2), standing_still_before({60}));
    ASSERT_TRUE(wait_for_step("killed", 50, *run));
    const auto worker = coordinator::find_process(worker_process("killed", 1));
    const int launcher = launcher_of(run->id());
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

// In the 250th backward pass of each. The second attempt begins at a checkpoint, so it has none.
TEST_F(SurviveSoak, Row04AllWorkersStoppedAtOnceAreNamedWithWhatTheyDidAndTheRunGoesOn) {
    const Ended ended = kiban(pretrain("run", 2, {"--set", "supervise.hang_seconds=5", "--set", "train.steps=260"}),
                              {{"KIBAN_FAULT", "step.backward=stop@250"}});
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
    const auto hangs = entries("run", "hang");
    ASSERT_EQ(hangs.size(), 1u);
    const std::string report = hangs[0].at("report");
    const std::regex stopped("process [0-9]+ is stopped");
    EXPECT_EQ(std::distance(std::sregex_iterator(report.begin(), report.end(), stopped), std::sregex_iterator()), 2)
        << report;
    EXPECT_FALSE(contains(report, " is gone")) << "it is of before the step was ended: " << report;
    const json place = entries("run", "decision").at(0).at("place");
    EXPECT_EQ(place.at("phase"), "backward") << place;
    EXPECT_EQ(place.at("step"), 250) << place;
    EXPECT_EQ(rules("run"), std::vector<std::string>{"restart"});
    EXPECT_EQ(last_step("run"), 260u);
}

TEST_F(Survive, ACoordinatorThatStoodStillForLongerThanAHangMayLastBlamesNobody) {
    ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
    const auto run = start(pretrain("run", 2, {"--set", "supervise.hang_seconds=5"}), standing_still_before({60}));
    ASSERT_TRUE(wait_for_step("run", 50, *run));
    run->send(SIGSTOP);
    std::this_thread::sleep_for(std::chrono::seconds(8));
    run->send(SIGCONT);
    EXPECT_EQ(run->wait(kPatienceSeconds), 0) << run->output();
    EXPECT_TRUE(contains(run->output(), "this coordinator did not run for ")) << run->output();
    EXPECT_TRUE(rules("run").empty()) << run->output();
    EXPECT_EQ(journaled("run", "attempt_started"), 1u);
    EXPECT_EQ(csv("run"), csv("whole"));
}

// Step 8 has eight that take a second each, and no exchange in between; those before it took a moment.
TEST_F(Survive, AStepOfManySlowMicroBatchesIsNoHang) {
    std::string slow;
    for (int micro_batch = 7 * 16 + 1; micro_batch <= 7 * 16 + 8; ++micro_batch)
        slow += fmt::format("{}step.micro_batch=delay@{}", slow.empty() ? "" : ";", micro_batch);
    const Ended ended = kiban(
        pretrain("run", 1,
                 {"--set", "supervise.hang_seconds=5", "--set", "train.steps=20", "--set", "train.micro_batch_rows=2"}),
        {{"KIBAN_FAULT", slow}});
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_TRUE(rules("run").empty()) << ended.output;
    const auto rows = monitoring::read_curve(dir_ / "run" / "curve").rows;
    ASSERT_EQ(rows.size(), 20u);
    EXPECT_GE(rows[7].step_seconds, 8) << "longer than a hang may last";
}

// Worker 1 does not come to the sum that worker 0 waits in: it has begun fewer collectives.
TEST_F(Survive, Row05ADeadlockIsNoticedThoughAllWorkersAreAliveAndTheReportNamesWhoIsMostBehind) {
    ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
    const auto marker = dir_ / "hung";
    const Ended ended = kiban(
        pretrain("run", 2, {"--set", "supervise.hang_seconds=5"}),
        {{"KIBAN_FAULT", "step.reduce=hang@57"}, {"KIBAN_FAULT_RANK", "1"}, {"KIBAN_FAULT_ONCE", marker.string()}});
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
    const auto hangs = entries("run", "hang");
    ASSERT_EQ(hangs.size(), 1u);
    const std::string report = hangs[0].at("report");
    EXPECT_TRUE(report.starts_with("no worker has moved for ")) << report;
    std::smatch collectives;
    ASSERT_TRUE(std::regex_search(
        report, collectives,
        std::regex("; most behind worker 1 \\(process [^)]*\\) in 'reduce' of step 57, collective ([0-9]+); "
                   "worker 0 \\(process [^)]*\\) in 'reduce' of step 57, collective ([0-9]+)")))
        << report;
    EXPECT_LT(std::stoull(collectives[1].str()), std::stoull(collectives[2].str())) << report;
    const json decision = entries("run", "decision").at(0);
    EXPECT_EQ(decision.at("cause"), "hang");
    EXPECT_EQ(decision.at("place").at("worker"), 1) << decision;
    EXPECT_EQ(decision.at("place").at("phase"), "reduce") << decision;
    EXPECT_EQ(decision.at("place").at("step"), 57) << decision;
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
    EXPECT_EQ(entries("run", "rolled_back")[0].at("to_step"),  // of 80, unless that of 40 was still being written
              steps_before("run", "checkpoint", "rolled_back").back());
    const auto left_out = entries("run", "rows_left_out");
    ASSERT_EQ(left_out.size(), 1u);
    EXPECT_EQ(left_out[0].at("first"), first + 3 * kBatch - 10 * kBatch);
    EXPECT_EQ(left_out[0].at("count"), 10 * kBatch);
    EXPECT_EQ(last_step("run"), kSteps);
    EXPECT_EQ(position("run"), (kSteps + 10) * kBatch);
}

// Checkpoints 0, 40 and 80; 30 healthy steps prove one good. The coordinator looks once a second, so that a pause at
// step 76 lets it promote that of step 40, and one at step 96 lets that of step 80 be durable and not be proven.
TEST_F(SurviveSoak, Row19ARollbackPassesOverANewerCheckpointThatIsNotYetPromoted) {
    const std::uint64_t first = 100 * kBatch;
    const Ended ended = kiban(pretrain("run", 2,
                                       {"--set", "train.steps=110", "--set", "anomaly.skip_steps=10", "--set",
                                        "checkpoint.promote_after_steps=30"}),
                              {{"KIBAN_FAULT", fmt::format("batch.{}=nan;batch.{}=nan;batch.{}=nan;step.data=delay3@76;"
                                                           "step.data=delay3@96",
                                                           first, first + kBatch, first + 2 * kBatch)}});
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_EQ(rules("run"), std::vector<std::string>{"rolled_back"});
    EXPECT_EQ(steps_before("run", "checkpoint", "rolled_back"), (std::vector<std::uint64_t>{0, 40, 80}));
    const auto promoted = steps_before("run", "checkpoint_promoted", "rolled_back");
    ASSERT_FALSE(promoted.empty()) << ended.output;
    EXPECT_EQ(promoted.back(), 40u);
    const auto back = entries("run", "rolled_back");
    ASSERT_EQ(back.size(), 1u);
    EXPECT_EQ(back[0].at("to_step"), 40);
    EXPECT_EQ(back[0].at("promoted"), true);
    EXPECT_EQ(entries("run", "training").back().at("from_step"), 40);
    const json passed_over = entries("run", "checkpoint").at(2).at("directory");
    for (const json& one : entries("run", "checkpoint_promoted")) EXPECT_NE(one.at("checkpoint"), passed_over);
    EXPECT_EQ(last_step("run"), 110u);
    EXPECT_EQ(position("run"), (110 + 10) * kBatch);
}

// Step 40 would be done with the batch at row 39 * 32, and saved: it is done, and saved, with the next one.
TEST_F(Survive, Row19ANonFiniteStepAtWhichASaveIsDueIsInNoCheckpoint) {
    const Ended ended = kiban(pretrain("run", 2, {"--set", "train.steps=60"}),
                              {{"KIBAN_FAULT", fmt::format("batch.{}=nan;step.data=delay@30", 39 * kBatch)}});
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
    const auto refused = entries("run", "step_refused");
    ASSERT_EQ(refused.size(), 1u);
    EXPECT_EQ(refused[0].at("step"), 40);
    const auto saved = checkpoint::list_checkpoints(dir_ / "run");
    ASSERT_EQ(saved.size(), 3u) << "of steps 60, 40 and 0";
    ASSERT_EQ(saved[1].step, 40u);
    const auto state = checkpoint::run_state_from_json(checkpoint::CheckpointReader(saved[1].directory).state());
    EXPECT_EQ(state.position, 41 * kBatch);
    const json& losses = state.anomalies.at("losses");
    EXPECT_EQ(losses.size(), 40u) << "of healthy steps";
    for (const json& loss : losses) EXPECT_TRUE(loss.is_number()) << losses;
}

TEST_F(Survive, Row19AHoldoutLossThatIsNotFiniteGoesBackToWeightsFromBeforeItsStep) {
    // After step 300, on both workers; the attempt that follows evaluates less often, from whichever save it goes on.
    const Ended ended = kiban(
        pretrain("run", 2, {"--set", "train.eval_interval_steps=20", "--set", "checkpoint.promote_after_steps=1000"}),
        {{"KIBAN_FAULT", "evaluate.loss=nan@15"}});
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_EQ(rules("run"), std::vector<std::string>{"rolled_back"});
    const auto refused = entries("run", "step_refused");
    ASSERT_EQ(refused.size(), 1u);
    EXPECT_EQ(refused[0].at("step"), kSteps);
    EXPECT_EQ(refused[0].at("position"), (kSteps - 1) * kBatch);
    EXPECT_TRUE(contains(refused[0].at("reason"), "the holdout loss after it is ")) << refused[0];
    EXPECT_LT(entries("run", "rolled_back").at(0).at("to_step"), kSteps);
    EXPECT_EQ(last_step("run"), kSteps);
}

TEST_F(SurviveSoak, Row21ACrashLoopAtStartUpEndsWith93AfterThreeAttempts) {
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
