// SPDX-License-Identifier: Apache-2.0
// What the policy makes of I/O errors, of batches that follow one that was left out, and of stops between attempts.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "coordinator/run/prepare.h"
#include "monitoring/exit_codes.h"
#include "tests/coordinator/policy_story.h"

namespace kiban::coordinator {
namespace {

using Kind = Decision::Kind;

AttemptEnd refused_by_disk(const char* message) { return failed("IoError", kExitIo, message); }

// Before there are workers: the lease, a key file, the launcher's logs.
AttemptEnd coordinator_refused() {
    AttemptEnd end = failed("IoError", kExitIo, "no space for the lease", 0);
    end.failed_rank = -1;
    return end;
}

std::vector<std::string> rules_of(Story& run, const std::vector<AttemptEnd>& ends) {
    std::vector<std::string> rules;
    for (const AttemptEnd& end : ends) rules.push_back(run.ends(end).rule);
    return rules;
}

TEST(PolicyOfDisks, AFullDiskIsWaitedForThroughEightBackoffsWhoeverItIsFullFor) {
    Story run;
    double waited = 0;
    for (int i = 0; i < 8; ++i) {
        const Decision decision =
            run.ends(i % 2 == 0 ? coordinator_refused() : at_step(refused_by_disk("no space for a"), 57));
        ASSERT_EQ(decision.kind, Kind::restart) << i;
        EXPECT_EQ(decision.rule, "restart") << "no rows, no start and no checkpoint are to blame";
        EXPECT_EQ(decision.cause, i % 2 == 0 ? "coordinator_failure" : "worker_failure");
        EXPECT_FALSE(decision.quarantine);
        waited += decision.backoff_seconds;
    }
    EXPECT_DOUBLE_EQ(waited, 127.5);
    Story goes_on = run;
    Story crashes = run;
    const Decision ninth = run.ends(coordinator_refused());
    EXPECT_EQ(ninth.kind, Kind::stop);
    EXPECT_EQ(ninth.exit_code, kExitIo);
    EXPECT_EQ(ninth.rule, "disk_again");
    EXPECT_EQ(ninth.reason,
              "the coordinator failed: IoError: no space for the lease; 9 I/O errors in a row, with nothing durable in "
              "between");
    goes_on.progress = true;
    EXPECT_EQ(goes_on.ends(coordinator_refused()).kind, Kind::restart) << "something durable was added";
    EXPECT_EQ(goes_on.state.disk_ends, 1U);
    EXPECT_EQ(crashes.ends(at_step(launcher_ended(139), 57)).kind, Kind::restart);
    EXPECT_EQ(crashes.state.disk_ends, 0U) << "in a row";
}

TEST(PolicyOfDisks, AnIoErrorIsNoFailedStartAndAStopThatWasAskedForEndsTheWait) {
    Story run;
    EXPECT_EQ(rules_of(run, std::vector<AttemptEnd>(7, coordinator_refused())), std::vector<std::string>(7, "restart"));
    EXPECT_EQ(run.state.failed_starts, 0U);
    AttemptEnd asked = coordinator_refused();
    asked.asked_to_leave = true;
    const Decision decision = run.ends(asked);
    EXPECT_EQ(decision.rule, "asked_to_leave");
    EXPECT_EQ(decision.exit_code, kExitIo);
    asked.requeue = true;
    EXPECT_EQ(Story().ends(asked).exit_code, kExitRequeue) << "the job goes back into the queue: USR1, or out of time";
}

TEST(PolicyOfDisks, ABudgetThatIoErrorsSpendEndsWith74) {
    Story run;
    run.rules.max_restarts = 2;
    EXPECT_EQ(rules_of(run, {coordinator_refused(), coordinator_refused()}), std::vector<std::string>(2, "restart"));
    const Decision third = run.ends(coordinator_refused());
    EXPECT_EQ(third.rule, "budget_spent");
    EXPECT_EQ(third.exit_code, kExitIo);
    EXPECT_EQ(decide_once(refused_by_disk("m")).exit_code, kExitIo) << "of a tool";
}

TEST(PolicyOfDisks, AnIoErrorBetweenTwoCrashesHidesNothing) {
    Story run;
    const AttemptEnd crash = at_step(launcher_ended(139), 57);
    EXPECT_EQ(rules_of(run, {crash, coordinator_refused(), crash}),
              (std::vector<std::string>{"restart", "restart", "rows_quarantined"}));
}

TEST(PolicyOfRows, ABatchThatTakesThePlaceOfOneThatWasLeftOutIsJudgedByItself) {
    Story run;
    run.rules.max_restarts = 100;
    const AttemptEnd first = at_step(launcher_ended(139), 57);
    AttemptEnd next = first;
    next.place->position = 58U * 32;
    EXPECT_EQ(rules_of(run, {first, first, next}),
              (std::vector<std::string>{"restart", "rows_quarantined", "restart"}));
    const Decision second = run.ends(next);
    EXPECT_EQ(second.rule, "rows_quarantined");
    ASSERT_TRUE(second.quarantine);
    EXPECT_EQ(second.quarantine->position, 58U * 32);
    AttemptEnd unknown = first;
    unknown.place->position.reset();
    const Decision by_step = run.ends(unknown);
    EXPECT_EQ(by_step.rule, "same_again") << "of rows that nobody knows the step decides";
    EXPECT_EQ(by_step.exit_code, kExitNoProgress);
}

TEST(PolicyOfStops, AStopBetweenTwoAttemptsSaysWhatIsToBeDoneAgain) {
    AttemptEnd end;
    end.interrupted = true;
    EXPECT_EQ(decide_once(end).reason, "stopped as requested, with nothing to save");
    end.undone_steps = 17;
    const Decision decision = decide_once(end);
    EXPECT_EQ(decision.rule, "requeue");
    EXPECT_EQ(decision.exit_code, kExitRequeue);
    EXPECT_EQ(decision.reason, "stopped as requested; 17 steps since the last checkpoint are to be done again");
}

TEST(PolicyOfStops, AProcessThatIsLeftBehindIsNamed) {
    AttemptEnd end = launcher_ended(137);
    end.asked_to_leave = true;
    end.left_behind = "process 12 (waiting for a disk)";
    const Decision decision = decide_once(end);
    EXPECT_EQ(decision.exit_code, kExitRequeue);
    EXPECT_EQ(
        decision.reason,
        "stopped as requested, but not saved: the workers ended with exit code 137 (signal 9); process 12 (waiting "
        "for a disk) had not ended");
}

// Every worker has said that it is done, and the launcher has not ended yet.
TEST(PolicyOfStops, AStopThatComesWhenTheCorpusIsPreparedKeepsTrainingFromBeginning) {
    Outcome prepared;
    prepared.end.finished = true;
    prepared.end.launcher_exit = 0;
    prepared.decision = decide_once(prepared.end);
    ASSERT_EQ(prepared.decision.kind, Kind::done);
    EXPECT_FALSE(stop_after_preparation(prepared)) << "nobody asked";
    prepared.end.asked_to_leave = true;
    prepared.end.requeue = true;
    const auto stop = stop_after_preparation(prepared);
    ASSERT_TRUE(stop);
    EXPECT_EQ(stop->decision.kind, Kind::stop);
    EXPECT_EQ(stop->decision.exit_code, kExitRequeue);
    EXPECT_EQ(stop->decision.rule, "requeue");
    EXPECT_EQ(stop->decision.reason, "stopped as requested: the corpus is prepared, training has not begun");
    EXPECT_TRUE(stop->end.interrupted) << "who asked is told that it is done";
    EXPECT_TRUE(stop->end.requeue);
    prepared.decision.kind = Kind::stop;
    EXPECT_FALSE(stop_after_preparation(prepared)) << "it has come to an end already";
}

}  // namespace
}  // namespace kiban::coordinator
