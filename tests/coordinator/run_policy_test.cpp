// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "coordinator/run/policy.h"
#include "monitoring/exit_codes.h"

namespace kiban::coordinator {
namespace {

using Kind = Decision::Kind;

AttemptEnd failed(const char* type, int code, const char* message = "m", std::uint64_t step = 5) {
    AttemptEnd end;
    end.failure = Failure{type, message, step, code};
    end.failed_rank = 1;
    return end;
}

AttemptEnd launcher_ended(int code) {
    AttemptEnd end;
    end.launcher_exit = code;
    return end;
}

AttemptHistory first() { return {.ends_without_progress = 1, .previous_failure = std::nullopt}; }

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
    AttemptEnd missing;
    missing.missing = {0, 1};
    missing.launcher_exit = 143;
    struct Row {
        const char* name;
        AttemptEnd end;
        Kind kind;
        int code;
        const char* cause;
    };
    const std::vector<Row> rows = {
        {"done", done, Kind::done, 0, "launcher"},
        {"saved on request", saved, Kind::stop, kExitRequeue, "launcher"},
        {"interrupted", interrupted, Kind::stop, kExitRequeue, "launcher"},
        {"killed", launcher_ended(137), Kind::restart, 0, "launcher"},
        {"crashed", launcher_ended(139), Kind::restart, 0, "launcher"},
        {"aborted", launcher_ended(134), Kind::restart, 0, "launcher"},
        {"left without a word", launcher_ended(1), Kind::restart, 0, "launcher"},
        {"a peer is gone", failed("CommError", kExitRequeue), Kind::restart, 0, "worker_failure"},
        {"an invariant broke", failed("InternalError", kExitInternal), Kind::restart, 0, "worker_failure"},
        {"a step is not finite", failed("NonFiniteError", kExitInternal), Kind::restart, 0, "non_finite"},
        {"disk", failed("IoError", kExitIo), Kind::restart, 0, "worker_failure"},
        {"no save for long", failed("SavesFailedError", kExitIo), Kind::stop, kExitIo, "worker_failure"},
        {"bad data", failed("DataError", kExitData), Kind::stop, kExitData, "worker_failure"},
        {"bad run file", failed("ConfigError", kExitConfiguration), Kind::stop, kExitConfiguration, "worker_failure"},
        {"exec-worker refused", launcher_ended(78), Kind::stop, kExitConfiguration, "launcher"},
        {"silent", lost, Kind::restart, 0, "worker_lost"},
        {"never came", missing, Kind::restart, 0, "start_timeout"},
    };
    for (const Row& row : rows) {
        const Decision decision = decide(row.end, first(), 10);
        EXPECT_EQ(decision.kind, row.kind) << row.name;
        EXPECT_EQ(decision.exit_code, row.code) << row.name;
        EXPECT_EQ(decision.cause, row.cause) << row.name;
    }
}

TEST(Policy, AWorkersReportOutranksTheLaunchersExitCode) {
    AttemptEnd end = failed("DataError", kExitData, "bad line 3 of 'x'");
    end.launcher_exit = 137;
    const Decision decision = decide(end, first(), 10);
    EXPECT_EQ(decision.kind, Kind::stop);
    EXPECT_EQ(decision.exit_code, kExitData);
    EXPECT_EQ(decision.reason, "worker 1 failed at step 5: DataError: bad line 3 of 'x'");
}

TEST(Policy, AStopThatWasAskedForIsKeptWhenTheAttemptFailsFirst) {
    AttemptEnd killed = launcher_ended(137);
    killed.asked_to_leave = true;
    const Decision decision = decide(killed, first(), 10);
    EXPECT_EQ(decision.kind, Kind::stop);
    EXPECT_EQ(decision.exit_code, kExitRequeue);
    EXPECT_EQ(decision.reason, "stopped as requested, but not saved: the workers ended with exit code 137 (signal 9)");

    AttemptEnd unsaved = failed("IoError", kExitIo, "no room");
    unsaved.asked_to_leave = true;
    EXPECT_EQ(decide(unsaved, first(), 10).kind, Kind::stop);
    EXPECT_EQ(decide(unsaved, first(), 10).exit_code, kExitIo) << "a save that failed is no reason to come back";
}

TEST(Policy, BacksOffTwiceAsLongEachTimeUpToHalfAMinute) {
    const std::vector<double> expected = {0.5, 1, 2, 4, 8, 16, 30, 30};
    for (std::uint32_t i = 0; i < expected.size(); ++i) {
        const Decision decision =
            decide(launcher_ended(137), {.ends_without_progress = i + 1, .previous_failure = std::nullopt}, 100);
        EXPECT_DOUBLE_EQ(decision.backoff_seconds, expected[i]);
    }
}

TEST(Policy, GivesUpWhenRestartsBringNothingDurable) {
    const auto at = [](std::uint32_t ends) {
        return decide(launcher_ended(137), {.ends_without_progress = ends, .previous_failure = std::nullopt}, 3);
    };
    EXPECT_EQ(at(3).kind, Kind::restart);
    EXPECT_EQ(at(4).kind, Kind::stop);
    EXPECT_EQ(at(4).exit_code, kExitNoProgress);
    EXPECT_NE(at(4).reason.find("3 restarts without anything durable in between"), std::string::npos);
}

TEST(Policy, TheSameBrokenInvariantAtTheSameStepIsNotTriedAThirdTime) {
    AttemptHistory history{.ends_without_progress = 2,
                           .previous_failure = failed("InternalError", kExitInternal, "loss is nan").failure};
    const Decision decision = decide(failed("InternalError", kExitInternal, "loss is nan"), history, 10);
    EXPECT_EQ(decision.kind, Kind::stop);
    EXPECT_EQ(decision.exit_code, kExitInternal);
    EXPECT_EQ(decide(failed("InternalError", kExitInternal, "other"), history, 10).kind, Kind::restart);
    EXPECT_EQ(decide(failed("InternalError", kExitInternal, "loss is nan", 6), history, 10).kind, Kind::restart);
}

TEST(Policy, AFullDiskIsTriedTwice) {
    AttemptHistory history{.ends_without_progress = 2,
                           .previous_failure = failed("IoError", kExitIo, "no space for a").failure};
    const Decision decision = decide(failed("IoError", kExitIo, "no space for b"), history, 10);
    EXPECT_EQ(decision.kind, Kind::stop);
    EXPECT_EQ(decision.exit_code, kExitIo);
}

TEST(Policy, DescribesAnEndForAPerson) {
    AttemptEnd end = launcher_ended(137);
    end.launcher_errors = "mpirun noticed that process rank 1 exited on signal 9";
    EXPECT_EQ(describe(end),
              "the workers ended with exit code 137 (signal 9); the launcher's last words:\nmpirun noticed that "
              "process rank 1 exited on signal 9");
    AttemptEnd lost;
    lost.lost = {1, 3};
    EXPECT_EQ(describe(lost), "worker 1, 3 fell silent");
}

}  // namespace
}  // namespace kiban::coordinator
