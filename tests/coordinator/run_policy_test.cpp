// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "coordinator/run/policy.h"
#include "monitoring/exit_codes.h"
#include "tests/coordinator/policy_story.h"

namespace kiban::coordinator {
namespace {

using Kind = Decision::Kind;

TEST(Policy, DecidesByTheClassOfTheEnd) {
    AttemptEnd done;
    done.finished = true;
    done.launcher_exit = 0;
    AttemptEnd saved = done;
    saved.stopped = true;
    AttemptEnd interrupted;
    interrupted.interrupted = true;
    AttemptEnd lost;
    lost.lost = {1};
    lost.launcher_exit = 137;
    AttemptEnd hung;
    hung.hang = "no worker has moved";
    hung.launcher_exit = 143;
    AttemptEnd missing;
    missing.missing = {0, 1};
    missing.launcher_exit = 143;
    struct Row {
        const char* name;
        AttemptEnd end;
        Kind kind;
        int code;
        const char* cause;
        const char* rule;
    };
    const std::vector<Row> rows = {
        {"done", done, Kind::done, 0, "launcher", "finished"},
        {"saved on request", saved, Kind::stop, kExitRequeue, "launcher", "requeue"},
        {"interrupted", interrupted, Kind::stop, kExitRequeue, "launcher", "requeue"},
        {"killed", launcher_ended(137), Kind::restart, 0, "launcher", "restart"},
        {"crashed", launcher_ended(139), Kind::restart, 0, "launcher", "restart"},
        {"aborted", launcher_ended(134), Kind::restart, 0, "launcher", "restart"},
        {"left without a word", launcher_ended(1), Kind::restart, 0, "launcher", "restart"},
        {"a peer is gone", failed("CommError", kExitRequeue), Kind::restart, 0, "worker_failure", "restart"},
        {"an invariant broke", failed("InternalError", kExitInternal), Kind::restart, 0, "worker_failure", "restart"},
        {"not finite", failed("NonFiniteError", kExitInternal), Kind::restart, 0, "non_finite", "rolled_back"},
        {"a spike", failed("SpikeError", kExitInternal), Kind::restart, 0, "spike", "rolled_back"},
        {"disk", failed("IoError", kExitIo), Kind::restart, 0, "worker_failure", "restart"},
        {"no save", failed("SavesFailedError", kExitIo), Kind::stop, kExitIo, "worker_failure", "saves_failed"},
        {"bad data", failed("DataError", kExitData), Kind::stop, kExitData, "worker_failure", "refused"},
        {"bad run file", failed("ConfigError", kExitConfiguration), Kind::stop, kExitConfiguration, "worker_failure",
         "refused"},
        {"exec-worker refused", launcher_ended(78), Kind::stop, kExitConfiguration, "launcher", "refused"},
        {"silent", lost, Kind::restart, 0, "worker_lost", "restart"},
        {"hung", hung, Kind::restart, 0, "hang", "restart"},
        {"never came", missing, Kind::restart, 0, "start_timeout", "restart"},
    };
    for (const Row& row : rows) {
        Story run;
        const Decision decision = run.ends(row.end);
        EXPECT_EQ(decision.kind, row.kind) << row.name;
        EXPECT_EQ(decision.exit_code, row.code) << row.name;
        EXPECT_EQ(decision.cause, row.cause) << row.name;
        EXPECT_EQ(decision.rule, row.rule) << row.name;
        EXPECT_EQ(decision.roll_back, decision.rule == "rolled_back") << row.name;
    }
}

TEST(Policy, AToolsOnlyAttemptIsNeverStartedAgain) {
    const Decision decision = decide_once(failed(NonFiniteError::kName, kExitInternal, "the loss is nan"));
    EXPECT_EQ(decision.kind, Kind::stop);
    EXPECT_EQ(decision.exit_code, kExitNoProgress);
}

TEST(Policy, AWorkersReportOutranksTheLaunchersExitCode) {
    AttemptEnd end = failed("DataError", kExitData, "bad line 3 of 'x'");
    end.launcher_exit = 137;
    const Decision decision = decide_once(end);
    EXPECT_EQ(decision.kind, Kind::stop);
    EXPECT_EQ(decision.exit_code, kExitData);
    EXPECT_EQ(decision.reason, "worker 1 failed at step 5: DataError: bad line 3 of 'x'");
}

TEST(Policy, TheOnlyAttemptOfAToolIsNeverRepeated) {
    const Decision decision = decide_once(launcher_ended(137));
    EXPECT_EQ(decision.kind, Kind::stop);
    EXPECT_EQ(decision.exit_code, kExitNoProgress);
}

TEST(Policy, AStopThatWasAskedForIsKeptWhenTheAttemptFailsFirst) {
    AttemptEnd killed = launcher_ended(137);
    killed.asked_to_leave = true;
    const Decision decision = decide_once(killed);
    EXPECT_EQ(decision.kind, Kind::stop);
    EXPECT_EQ(decision.exit_code, kExitRequeue);
    EXPECT_EQ(decision.reason, "stopped as requested, but not saved: the workers ended with exit code 137 (signal 9)");

    AttemptEnd unsaved = failed("IoError", kExitIo, "no room");
    unsaved.asked_to_leave = true;
    EXPECT_EQ(decide_once(unsaved).kind, Kind::stop);
    EXPECT_EQ(decide_once(unsaved).exit_code, kExitIo) << "a save that failed is no reason to come back";
}

TEST(Policy, BacksOffTwiceAsLongEachTimeUntilSomethingDurableIsAdded) {
    Story run;
    run.rules.max_restarts = 100;
    for (const double expected : {0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0})
        EXPECT_DOUBLE_EQ(run.ends(at_step(launcher_ended(137), 7 + run.state.fruitless.size())).backoff_seconds,
                         expected);
    run.progress = true;
    EXPECT_DOUBLE_EQ(run.ends(at_step(launcher_ended(137), 70)).backoff_seconds, 0.5);
    const auto apart = decide({}, {.end = launcher_ended(137), .jitter = 1}, {});
    EXPECT_DOUBLE_EQ(apart.decision.backoff_seconds, 0.625) << "a quarter more: runs that fail together";
}

TEST(Policy, TheBudgetCountsRestartsWithoutAnythingDurableInAWindow) {
    Story run;
    run.rules.max_restarts = 3;
    for (std::uint64_t step = 1; step <= 3; ++step) {
        run.now += 60;
        EXPECT_EQ(run.ends(at_step(launcher_ended(137), step)).kind, Kind::restart);
    }
    Story later = run;
    const Decision spent = run.ends(at_step(launcher_ended(137), 4));
    EXPECT_EQ(spent.kind, Kind::stop);
    EXPECT_EQ(spent.exit_code, kExitNoProgress);
    EXPECT_EQ(spent.rule, "budget_spent");
    EXPECT_NE(spent.reason.find("3 restarts without anything durable in between"), std::string::npos);

    later.now += 6 * 3600;  // two of the three are older than the window by then
    EXPECT_EQ(later.ends(at_step(launcher_ended(137), 4)).kind, Kind::restart);
    EXPECT_EQ(later.state.fruitless.size(), 2u);
}

TEST(Policy, ACrashLoopAtStartUpEndsAfterThreeAttempts) {
    Story run;
    EXPECT_EQ(run.ends(launcher_ended(139)).kind, Kind::restart);
    EXPECT_EQ(run.ends(launcher_ended(139)).kind, Kind::restart);
    const Decision third = run.ends(launcher_ended(139));
    EXPECT_EQ(third.rule, "no_progress");
    EXPECT_EQ(third.exit_code, kExitNoProgress);
    Story other;
    EXPECT_EQ(other.ends(launcher_ended(139)).kind, Kind::restart);
    EXPECT_EQ(other.ends(at_step(launcher_ended(139), 3)).kind, Kind::restart) << "it did a step";
    EXPECT_EQ(other.ends(launcher_ended(139)).kind, Kind::restart);
    EXPECT_EQ(other.ends(launcher_ended(139)).kind, Kind::restart);
}

TEST(Policy, TheSameEndAtTheSameStepTwiceLeavesOutItsRowsAndAThirdTimeStops) {
    Story run;
    const AttemptEnd end = at_step(launcher_ended(139), 57);
    EXPECT_FALSE(run.ends(end).quarantine);
    const Decision second = run.ends(end);
    EXPECT_EQ(second.rule, "rows_quarantined");
    ASSERT_TRUE(second.quarantine);
    EXPECT_EQ(second.quarantine->position, 57u * 32);
    const Decision third = run.ends(end);
    EXPECT_EQ(third.kind, Kind::stop);
    EXPECT_EQ(third.exit_code, kExitNoProgress);
    Story passes;
    passes.ends(at_step(launcher_ended(139), 57, "forward"));
    EXPECT_TRUE(passes.ends(at_step(launcher_ended(139), 57, "backward")).quarantine) << "which of them is chance";
}

TEST(Policy, NoRowsAreLeftOutForWhatTheyCannotHaveDone) {
    for (const char* phase : {"save", "evaluate", "loading", "done"}) {
        Story run;
        const AttemptEnd end = at_step(launcher_ended(139), 57, phase);
        run.ends(end);
        EXPECT_FALSE(run.ends(end).quarantine) << phase;
    }
    Story unknown;
    AttemptEnd end = at_step(launcher_ended(139), 57);
    end.place->position.reset();
    unknown.ends(end);
    EXPECT_FALSE(unknown.ends(end).quarantine) << "nobody knows which";
    Story apart;
    apart.ends(at_step(launcher_ended(139), 57));
    EXPECT_FALSE(apart.ends(at_step(launcher_ended(139), 58)).quarantine) << "another step";
    EXPECT_FALSE(apart.ends(at_step(launcher_ended(137), 58)).quarantine) << "another end";
    apart.progress = true;
    EXPECT_FALSE(apart.ends(at_step(launcher_ended(137), 58)).quarantine) << "a checkpoint in between";
    Story never;
    never.rules.supervise.max_quarantines = 0;
    never.ends(at_step(launcher_ended(139), 57));
    EXPECT_FALSE(never.ends(at_step(launcher_ended(139), 57)).quarantine) << "told not to";
}

TEST(Policy, PoisonWithoutEndStopsTheRun) {
    Story run;
    run.rules.max_restarts = 100;
    for (std::uint64_t step = 10; step < 13; ++step) {
        run.ends(at_step(launcher_ended(139), step));
        EXPECT_EQ(run.ends(at_step(launcher_ended(139), step)).rule, "rows_quarantined");
    }
    run.ends(at_step(launcher_ended(139), 13));
    const Decision last = run.ends(at_step(launcher_ended(139), 13));
    EXPECT_EQ(last.rule, "quarantines_spent");
    EXPECT_EQ(last.exit_code, kExitNoProgress);
}

TEST(Policy, TheSameBrokenInvariantWithoutRowsToBlameIsNotTriedAThirdTime) {
    Story run;
    run.ends(failed("InternalError", kExitInternal, "loss is nan"));
    Story other = run;
    Story later = run;
    const Decision decision = run.ends(failed("InternalError", kExitInternal, "loss is nan"));
    EXPECT_EQ(decision.kind, Kind::stop);
    EXPECT_EQ(decision.exit_code, kExitInternal);
    EXPECT_EQ(decision.rule, "same_again");
    EXPECT_EQ(other.ends(failed("InternalError", kExitInternal, "other")).kind, Kind::restart);
    EXPECT_EQ(later.ends(failed("InternalError", kExitInternal, "loss is nan", 6)).kind, Kind::restart);
}

TEST(Policy, ACheckpointThatCannotBeLoadedTwiceGivesWayToAnOlderOne) {
    Story run;
    const AttemptEnd loading = at_step(launcher_ended(139), 0, "loading");
    EXPECT_FALSE(run.ends(loading).reject_checkpoint);
    Story alone = run;
    const Decision second = run.ends(loading);
    EXPECT_TRUE(second.reject_checkpoint);
    EXPECT_EQ(second.rule, "checkpoint_rejected");
    alone.older_checkpoint = false;
    EXPECT_FALSE(alone.ends(loading).reject_checkpoint) << "there is no other";
    Story refused;
    refused.ends(at_step(failed("IoError", kExitIo, "m", 0), 0, "loading"));
    EXPECT_FALSE(refused.ends(at_step(failed("IoError", kExitIo, "m", 0), 0, "loading")).reject_checkpoint)
        << "the disk says nothing against the checkpoint";
}

TEST(Policy, AnOlderCheckpointHasAsManyAttemptsAsTheOneBeforeIt) {
    Story run;
    const AttemptEnd loading = at_step(launcher_ended(139), 0, "loading");
    for (const char* rule : {"restart", "checkpoint_rejected", "restart", "checkpoint_rejected"})
        EXPECT_EQ(run.ends(loading).rule, rule);
    run.older_checkpoint = false;
    EXPECT_EQ(run.ends(loading).rule, "restart");
    EXPECT_EQ(run.ends(loading).rule, "restart");
    EXPECT_EQ(run.ends(loading).rule, "no_progress");
}

using Hosts = std::set<std::string>;

// As many workers as 2, where at most one host is left out.
int with_one_spare(const Hosts& out) { return out.size() <= 1 ? 2 : 0; }

AttemptEnd silent_host(std::uint64_t step, Hosts hosts) {
    AttemptEnd end = at_step(launcher_ended(143), step, "reduce", hosts.begin()->c_str());
    end.lost = {1};
    end.lost_hosts = std::move(hosts);
    return end;
}

TEST(Policy, AHostThatCrashesTwiceIsLeftOutWhereTheOthersHaveRoom) {
    Story run;
    run.progress = true;
    run.workers_without = with_one_spare;
    EXPECT_EQ(run.ends(at_step(launcher_ended(137), 5, "forward", "h2")).exclude_hosts, Hosts{});
    EXPECT_EQ(run.ends(at_step(launcher_ended(137), 6, "forward", "h1")).exclude_hosts, Hosts{});
    Story full = run;
    const Decision decision = run.ends(at_step(launcher_ended(137), 9, "forward", "h2"));
    EXPECT_EQ(decision.exclude_hosts, Hosts{"h2"});
    EXPECT_EQ(decision.workers, 2);
    EXPECT_EQ(decision.rule, "host_excluded");
    EXPECT_EQ(run.state.excluded, Hosts{"h2"});
    full.workers_without = {};
    EXPECT_EQ(full.ends(at_step(launcher_ended(137), 9, "forward", "h2")).exclude_hosts, Hosts{})
        << "no room without it";
    EXPECT_EQ(run.ends(at_step(launcher_ended(137), 10, "forward", "h1")).rule, "restart")
        << "its second crash, but no room without both";
}

TEST(Policy, AHostIsTheSameByItsShortNameAndByItsLongOne) {
    Story run;
    run.progress = true;
    run.workers_without = with_one_spare;
    EXPECT_EQ(run.ends(at_step(launcher_ended(137), 5, "forward", "h2")).exclude_hosts, Hosts{});
    EXPECT_EQ(run.ends(at_step(launcher_ended(137), 9, "forward", "h2.cluster.org")).exclude_hosts, Hosts{"h2"});
}

TEST(Policy, Row22AHostThatIsLostIsLeftOutAtOnceASpareTakesItsPlaceOrTheRunShrinks) {
    Story spare;
    spare.workers_without = with_one_spare;
    const Decision first = spare.ends(silent_host(9, {"h3.cluster.org"}));
    EXPECT_EQ(first.kind, Kind::restart);
    EXPECT_EQ(first.rule, "host_lost");
    EXPECT_EQ(first.exclude_hosts, Hosts{"h3"});
    EXPECT_EQ(first.workers, 2);
    const Decision second = spare.ends(silent_host(9, {"h2"}));
    EXPECT_EQ(second.rule, "rows_quarantined") << "without room it is an end like others";

    Story shrinks;
    shrinks.workers_without = [](const Hosts& out) { return 4 - static_cast<int>(out.size()); };
    EXPECT_EQ(shrinks.ends(silent_host(9, {"h3", "h4"})).workers, 2);
    EXPECT_EQ(shrinks.ends(silent_host(9, {"h2"})).workers, 1) << "the same step again, but no rows are to blame";
    EXPECT_EQ(shrinks.state.excluded, (Hosts{"h2", "h3", "h4"}));
}

TEST(Policy, Row22AHostThatIsLostWithoutRoomElsewherePutsTheJobBackIntoTheQueueWhereThereIsOne) {
    Story run;
    run.may_requeue = true;
    Story silent = run;
    EXPECT_EQ(silent.ends(silent_host(9, {"n2"})).rule, "restart") << "a silence may pass";
    AttemptEnd failed_node = silent_host(9, {"n2"});
    failed_node.launcher_lost_hosts = true;
    const Decision decision = run.ends(failed_node);
    EXPECT_EQ(decision.kind, Kind::stop);
    EXPECT_EQ(decision.exit_code, kExitRequeue);
    EXPECT_EQ(decision.rule, "no_room_left");
    EXPECT_TRUE(decision.requeue);
    Story never;
    never.may_requeue = true;
    never.rules.supervise.max_host_failures = 0;
    EXPECT_EQ(never.ends(failed_node).rule, "restart") << "no host is ever left out";
}

TEST(Policy, RollbacksEndWhereTheyDoNotHelp) {
    Story run;
    run.progress = true;
    for (std::uint64_t step = 100; step < 400; step += 100)
        EXPECT_TRUE(run.ends(failed("SpikeError", kExitInternal, "m", step)).roll_back);
    Story far = run;
    const Decision decision = run.ends(failed("NonFiniteError", kExitInternal, "m", 400));
    EXPECT_EQ(decision.kind, Kind::stop);
    EXPECT_EQ(decision.exit_code, kExitNoProgress);
    EXPECT_EQ(decision.rule, "rollbacks_spent");
    EXPECT_TRUE(far.ends(failed("SpikeError", kExitInternal, "m", 10250)).roll_back) << "the first two are long ago";
}

TEST(Policy, DescribesAnEndForAPerson) {
    AttemptEnd end = launcher_ended(137);
    end.launcher_errors = "mpirun noticed that process rank 1 exited on signal 9";
    EXPECT_EQ(describe(end),
              "the workers ended with exit code 137 (signal 9); the launcher's last words:\nmpirun noticed that "
              "process rank 1 exited on signal 9");
    AttemptEnd placed = at_step(launcher_ended(139), 57);
    EXPECT_EQ(describe(placed),
              "the workers ended with exit code 139 (signal 11), worker 1 first, in phase 'forward' of step 57 on "
              "'h1'");
    AttemptEnd lost;
    lost.lost = {1, 3};
    EXPECT_EQ(describe(lost), "worker 1, 3 fell silent");
}

}  // namespace
}  // namespace kiban::coordinator
