// SPDX-License-Identifier: Apache-2.0
// Twenty SIGKILLs at random moments of a whole run that saves all the time: workers and coordinators, in the middle of
// steps, saves, loads and starts. Soak.
#include <fmt/format.h>

#include <chrono>
#include <random>
#include <thread>

#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

class Kills : public RunTest {
  protected:
    static constexpr int kKills = 20;
    static constexpr std::uint64_t kLastStep = 4000;  // far enough for the kills on a fast machine
    static constexpr double kLongPatienceSeconds = 900;

    static std::vector<std::string> saving_all_the_time() {
        return {"--set", fmt::format("train.steps={}", kLastStep), "--set", "checkpoint.interval_steps=3",
                "--set", "checkpoint.max_mib_per_second=0.3",      "--set", "launch.max_restarts=50"};
    }
    // Each attempt stands still before its 200th step, so that the run does not end before the kills.
    static Process::Environment slow() { return {{"KIBAN_FAULT", "step.data=delay4@200"}}; }

    void sleep_up_to(double seconds) {
        std::this_thread::sleep_for(
            std::chrono::duration<double>(std::uniform_real_distribution<double>(0, seconds)(random_)));
    }

    // One process of the run, chosen at random, dies at a random moment. False when the run was over before.
    bool kill_one(Process& coordinator) {
        sleep_up_to(4);
        if (coordinator.ended()) return false;
        const int victim = static_cast<int>(random_() % 3);
        const int worker = victim < 2 ? worker_process("killed", victim) : 0;
        if (victim < 2 && worker == 0) return false;  // between two attempts
        if (victim < 2) return ::kill(worker, SIGKILL) == 0;
        coordinator.send(SIGKILL);
        coordinator.wait(kPatienceSeconds);
        return true;
    }

    std::mt19937 random_{std::random_device()()};
};

TEST_F(Kills, TwentyAtRandomMomentsLeaveTheCurveAsItWouldHaveBeen) {
    ASSERT_EQ(kiban(pretrain("whole", 2, {"--set", fmt::format("train.steps={}", kLastStep)})).exit_code, 0);
    int kills = 0;
    std::unique_ptr<Process> coordinator = start(pretrain("killed", 2, saving_all_the_time()), slow());
    while (kills < kKills) {
        kills += kill_one(*coordinator) ? 1 : 0;
        if (!coordinator->ended()) continue;
        ASSERT_LT(last_step("killed"), kLastStep) << "only " << kills << " kills before the run was over";
        coordinator = start(pretrain("killed", 2, saving_all_the_time()), slow());
    }
    int code = coordinator->wait(kLongPatienceSeconds);
    if (code == 137) {
        coordinator = start(pretrain("killed", 2, saving_all_the_time()));
        code = coordinator->wait(kLongPatienceSeconds);
    }
    EXPECT_EQ(code, 0) << coordinator->output();
    EXPECT_EQ(csv("killed"), csv("whole"));
    EXPECT_EQ(journaled("killed", "checkpoint_rejected"), 0u) << "a save was published that was not whole";
    EXPECT_EQ(kiban({"verify", "killed"}).exit_code, 0);
}

}  // namespace
}  // namespace kiban::testing
