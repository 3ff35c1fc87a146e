// SPDX-License-Identifier: Apache-2.0
// The wall clock of a run jumps: what orders checkpoints, ends leases and measures time does not read it.
#include <csignal>
#include <fstream>

#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

class JumpingClock : public RunTest {
  protected:
    void set_clock(const std::string& seconds) const { std::ofstream(dir_ / "shift") << seconds << std::flush; }
    Process::Environment shifted(Process::Environment environment) const {
        environment["LD_PRELOAD"] = KIBAN_SHIFTED_CLOCK;
        environment["KIBAN_SHIFTED_CLOCK"] = (dir_ / "shift").string();
        return environment;
    }
    bool wait_for_save_of(const std::string& run, std::uint64_t step, Process& coordinator) const {
        const auto under_way = [&] {
            const auto now = status(run);
            return now && now->checkpoint_queued && now->checkpoint_queued_step == step;
        };
        return eventually(kPatienceSeconds, [&] { return under_way() || coordinator.ended(); }) && !coordinator.ended();
    }
    // The time of the last journal entry of this event, as it stands there.
    std::string time_of(const std::string& run, const std::string& event) const {
        std::string time;
        for (const auto& entry : coordinator::read_journal(coordinator::RunDirectory(dir_ / run).journal()))
            if (entry.value("event", "") == event) time = entry.at("time");
        return time;
    }
};

// Row 13 of the fault matrix: a day forwards and a day back, each while a checkpoint is being written: the second and
// the third, of steps 60 and 120, take two seconds.
TEST_F(JumpingClock, Row13ADayForwardsAndBackChangesNeitherStepsNorCheckpointsNorWhoOwnsTheRun) {
    const std::vector<std::string> often = {"--set", "checkpoint.interval_steps=60"};
    ASSERT_EQ(kiban(pretrain("whole", 2, often)).exit_code, 0);
    set_clock("0");
    Process::Environment slow = standing_still_before({50, 190});
    slow["KIBAN_FAULT"] += ";step.data=delay5@110;ckpt.fsync=delay2@2;ckpt.fsync=delay2@3";
    const auto coordinator = start(pretrain("jumped", 2, often), shifted(slow));
    ASSERT_TRUE(wait_for_save_of("jumped", 60, *coordinator));
    const std::string today = time_of("jumped", "training").substr(0, 10);
    set_clock("86400");
    EXPECT_TRUE(eventually(kPatienceSeconds, [&] { return time_of("jumped", "checkpoint").substr(0, 10) > today; }))
        << "the clock that the run reads has jumped";
    ASSERT_TRUE(wait_for_save_of("jumped", 120, *coordinator));
    set_clock("-86400");
    ASSERT_TRUE(wait_for_step("jumped", 180, *coordinator));
    set_clock("0");
    EXPECT_EQ(coordinator->wait(kPatienceSeconds), 0) << coordinator->output();
    EXPECT_EQ(journaled("jumped", "attempt_started"), 1U);
    EXPECT_EQ(journaled("jumped", "checkpoint_failed"), 0U);
    EXPECT_EQ(csv("jumped"), csv("whole"));
    EXPECT_EQ(kiban({"verify", "jumped"}).exit_code, 0);
}

// The newest checkpoint carries the oldest date.
TEST_F(JumpingClock, Row13AResumeTakesTheHighestStepWhateverItsDate) {
    const std::vector<std::string> often = {"--set", "checkpoint.interval_steps=20"};
    ASSERT_EQ(kiban(pretrain("whole", 2, often)).exit_code, 0);
    set_clock("86400");
    const auto coordinator = start(pretrain("cut", 2, often), shifted(standing_still_before({130})));
    ASSERT_TRUE(wait_for_step("cut", 60, *coordinator));
    set_clock("-86400");
    ASSERT_TRUE(wait_for_step("cut", 120, *coordinator));
    coordinator->send(SIGTERM);
    ASSERT_EQ(coordinator->wait(kPatienceSeconds), 75) << coordinator->output();
    const auto stopped_at = last_step("cut");
    EXPECT_EQ(kiban(pretrain("cut", 2, often)).exit_code, 0);
    const auto entries = coordinator::read_journal(coordinator::RunDirectory(dir_ / "cut").journal());
    std::uint64_t from = 0;
    for (const auto& entry : entries)
        if (entry.value("event", "") == "training") from = entry.at("from_step");
    EXPECT_EQ(from, stopped_at);
    EXPECT_EQ(csv("cut"), csv("whole"));
}

}  // namespace
}  // namespace kiban::testing
