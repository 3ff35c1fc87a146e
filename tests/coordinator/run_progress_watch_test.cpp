// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "coordinator/run/progress_watch.h"

namespace kiban::coordinator {
namespace {

// Some workers in one step, as their heartbeats have it.
class Watched {
  public:
    explicit Watched(int workers) : members(static_cast<std::size_t>(workers)), watch({}, workers, 0) {
        for (std::size_t rank = 0; rank < members.size(); ++rank) {
            members[rank].hello = Hello{};
            members[rank].hello->host = fmt::format("h{}", rank);
            members[rank].hello->pid = 100 + static_cast<int>(rank);
        }
        for (int i = 0; i < 100; ++i) pace.add(0.1);
        for (int i = 0; i < 5; ++i) watch.step_done();
    }

    void beat(int rank, const char* phase, std::uint64_t step, std::uint64_t collective, double now,
              std::uint64_t work = 0) {
        Member& member = members[static_cast<std::size_t>(rank)];
        member.heartbeat.phase = phase;
        member.heartbeat.step = step;
        member.heartbeat.collective = collective;
        member.heartbeat.work = work;
        member.last_heard = now;
        watch.heartbeat(rank, member.heartbeat, now);
    }
    bool hangs(double now) const { return watch.look(members, pace, now).has_value(); }

    std::vector<Member> members;
    StepPace pace;
    ProgressWatch watch;
};

TEST(ProgressWatch, HeartbeatsThatSayTheSameAreLifeAndNoProgress) {
    Watched run(2);
    for (int second = 0; second <= 20; ++second) {
        run.beat(0, "reduce", 5, 31, second);
        run.beat(1, "forward", 5, 30, second);
        EXPECT_FALSE(run.hangs(second)) << second;
    }
    EXPECT_TRUE(run.hangs(20.5));
    run.beat(1, "forward", 5, 31, 21);
    EXPECT_FALSE(run.hangs(40)) << "one has moved, so the others may yet";
    EXPECT_TRUE(run.hangs(41.5));
}

TEST(ProgressWatch, MicroBatchesAreProgressHoweverLongTheirStepOrEvaluationTakes) {
    for (const char* phase : {"forward", "evaluate"}) {
        Watched run(2);
        const double limit = run.watch.limit(phase, run.pace);
        run.beat(1, "reduce", 5, 31, 0);
        double now = 0;
        for (std::uint64_t micro_batch = 1; micro_batch <= 10; ++micro_batch) {
            run.beat(0, phase, 5, 31, now, micro_batch);
            now += 0.9 * limit;
            run.beat(0, phase, 5, 31, now, micro_batch);
            EXPECT_FALSE(run.hangs(now)) << phase << ", micro-batch " << micro_batch;
        }
        EXPECT_TRUE(run.hangs(now + 0.2 * limit)) << phase << ": the last one does not end";
    }
}

TEST(ProgressWatch, TheReportNamesWhoIsMostBehindFirst) {
    Watched run(3);
    run.beat(0, "reduce", 5, 31, 1);
    run.beat(1, "forward", 5, 30, 1);
    run.beat(2, "reduce", 5, 31, 1);
    for (int rank = 0; rank < 3; ++rank) run.members[static_cast<std::size_t>(rank)].last_heard = 22;
    const auto hang = run.watch.look(run.members, run.pace, 22);
    ASSERT_TRUE(hang);
    EXPECT_EQ(hang->suspect, 1);
    EXPECT_EQ(hang->text,
              "no worker has moved for 21 s; most behind worker 1 (process 101 on h1) in 'forward' of step 5, "
              "collective 30; worker 0 (process 100 on h0) in 'reduce' of step 5, collective 31; worker 2 (process 102 "
              "on h2) in 'reduce' of step 5, collective 31");
    run.members[2].last_heard = 10;
    EXPECT_EQ(run.watch.look(run.members, run.pace, 22)->suspect, 2) << "who is silent does not wait for others";
}

TEST(ProgressWatch, EachPhaseHasItsLimitAndThoseOfAStepGrowWithTheSteps) {
    ProgressWatch watch({}, 1, 0);
    StepPace none;
    StepPace slow;
    for (int i = 0; i < 100; ++i) slow.add(i < 2 ? 30.0 : 10.0);
    EXPECT_EQ(watch.limit("reduce", none), 300) << "nothing is known of the first steps";
    EXPECT_EQ(slow.slowest_usual(), 30);
    EXPECT_EQ(watch.limit("forward", slow), 300)
        << "those of another attempt say little of the first steps of this one";
    for (int i = 0; i < 4; ++i) watch.step_done();
    EXPECT_EQ(watch.limit("forward", slow), 300);
    StepPace slower;
    slower.add(100);
    EXPECT_EQ(watch.limit("forward", slower), 500);
    watch.step_done();
    EXPECT_EQ(watch.limit("forward", slow), 150);
    EXPECT_EQ(watch.limit("data", slow), 150);
    const Watched run(1);
    for (const char* phase : {"forward", "backward", "reduce", "optimizer"})
        EXPECT_EQ(run.watch.limit(phase, run.pace), 20) << phase;
    for (const char* phase : {"data", "preflight"})
        EXPECT_EQ(run.watch.limit(phase, run.pace), 120) << phase << ": a disk may be slow";
    for (const char* phase : {"starting", "loading", "evaluate", "save", "done"})
        EXPECT_EQ(run.watch.limit(phase, run.pace), 1800) << phase;
    EXPECT_EQ(run.watch.limit("prepare", run.pace), std::numeric_limits<double>::infinity());
}

TEST(StepPace, IsThatOfTheWorkNotOfTheDiskOrTheEvaluation) {
    StepReport report;
    report.step_seconds = 62;
    report.phase_seconds = {{"data", 0.25}, {"forward", 0.5},  {"backward", 1},     {"reduce", 0.125},
                            {"save", 64},   {"evaluate", 100}, {"optimizer", 0.125}};
    StepPace pace;
    pace.add(report);
    EXPECT_EQ(pace.slowest_usual(), 2) << "64 s of saves, the one before the step among them";
    ProgressWatch watch({}, 1, 0);
    for (int i = 0; i < 5; ++i) watch.step_done();
    EXPECT_EQ(watch.limit("reduce", pace), 20) << "a slow disk makes no hang last longer";
    StepReport untold;
    untold.step_seconds = 7;
    pace.add(untold);
    pace.add(untold);
    EXPECT_EQ(pace.slowest_usual(), 7);
}

TEST(ProgressWatch, ASlowDiskExcusesThoseWhoWaitForIt) {
    Watched run(2);
    run.beat(0, "reduce", 5, 31, 1);
    run.beat(1, "save", 5, 31, 1);
    EXPECT_FALSE(run.hangs(1000));
    EXPECT_TRUE(run.hangs(1802));
}

TEST(ProgressWatch, APauseOfTheCoordinatorIsNobodysHang) {
    Watched run(1);
    run.beat(0, "forward", 5, 31, 1);
    run.watch.excuse(60);
    EXPECT_FALSE(run.hangs(80));
    EXPECT_TRUE(run.hangs(82));
}

TEST(ProgressWatch, NobodyHangsBeforeAllAreInNorOnceAllHaveFinishedNorWhenToldNotToLook) {
    Watched run(2);
    run.beat(0, "forward", 5, 31, 1);
    run.beat(1, "forward", 5, 31, 1);
    ASSERT_TRUE(run.hangs(50));
    for (Member& member : run.members) member.finished = true;
    EXPECT_FALSE(run.hangs(50));
    for (Member& member : run.members) member.finished = false;
    run.members[1].hello.reset();
    EXPECT_FALSE(run.hangs(50));
    run.members[1].hello = Hello{};
    SuperviseConfig off;
    off.hang_seconds = 0;
    EXPECT_FALSE(ProgressWatch(off, 2, 0).look(run.members, run.pace, 1e6));
}

TEST(ProgressWatch, OneThatHasFinishedExcusesNobody) {
    Watched run(3);
    for (int rank = 0; rank < 3; ++rank) run.beat(rank, "reduce", 5, 31, 1);
    run.beat(1, "done", 6, 31, 1);
    run.members[1].finished = true;
    run.beat(2, "reduce", 5, 32, 30);
    EXPECT_FALSE(run.hangs(40)) << "one that is still at work has moved";
    const auto hang = run.watch.look(run.members, run.pace, 51);
    ASSERT_TRUE(hang);
    EXPECT_EQ(hang->seconds, 21);
    EXPECT_EQ(hang->suspect, 0);
    EXPECT_EQ(hang->text.find("worker 1"), std::string::npos) << hang->text;
    EXPECT_NE(hang->text.find("worker 2"), std::string::npos) << hang->text;
}

void busy(Stragglers& stragglers, const std::vector<double>& seconds_per_step, int steps) {
    for (int step = 0; step <= steps; ++step) {
        for (std::size_t rank = 0; rank < seconds_per_step.size(); ++rank) {
            Heartbeat beat;
            beat.busy_steps = static_cast<std::uint64_t>(step);
            beat.busy_seconds = step * seconds_per_step[rank];
            stragglers.heartbeat(static_cast<int>(rank), beat, 1 + step);
        }
    }
}

TEST(Stragglers, AreNamedAfterThreeSpansFarAboveTheMedianOfTheOthers) {
    Stragglers stragglers(1.5, 4);
    busy(stragglers, {0.5, 0.52, 0.9, 0.48}, 65);
    for (const int rank : {0, 1, 3}) EXPECT_FALSE(stragglers.is_straggler(rank)) << rank;
    EXPECT_TRUE(stragglers.is_straggler(2));
    EXPECT_NEAR(*stragglers.own_seconds(2), 0.9, 1e-9);
    Stragglers early(1.5, 4);
    busy(early, {0.5, 0.52, 0.9, 0.48}, 25);
    EXPECT_FALSE(early.is_straggler(2)) << "twice may be chance";
    Stragglers nobody(0, 4);
    busy(nobody, {0.5, 0.52, 9.0, 0.48}, 65);
    EXPECT_FALSE(nobody.is_straggler(2));
    Stragglers alone(1.5, 1);
    busy(alone, {0.5}, 65);
    EXPECT_FALSE(alone.is_straggler(0));
}

TEST(Stragglers, OfTwoWorkersTheSlowerOneIsNamed) {
    Stragglers stragglers(1.5, 2);
    busy(stragglers, {0.5, 0.8}, 65);
    EXPECT_TRUE(stragglers.is_straggler(1));
    EXPECT_FALSE(stragglers.is_straggler(0));
}

}  // namespace
}  // namespace kiban::coordinator
