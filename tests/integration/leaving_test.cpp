// SPDX-License-Identifier: Apache-2.0
// What a coordinator leaves written where people look when it goes before its run is done.
#include <csignal>

#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

class Leaving : public RunTest {
  protected:
    nlohmann::json last_entry(const std::string& run, const std::string& event) const {
        nlohmann::json last;
        for (const auto& entry : coordinator::read_journal(coordinator::RunDirectory(dir_ / run).journal())) {
            if (entry.value("event", "") == event) last = entry;
        }
        return last;
    }
};

TEST_F(Leaving, BetweenTwoAttemptsIsADecisionAndSaysWhatIsToBeDoneAgain) {
    const auto run = start(pretrain("run", 1, {"--set", "supervise.backoff_seconds=100"}),
                           {{"KIBAN_FAULT", "step.forward=kill@57"}});
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] {
        const auto now = status("run");
        return (now && now->state == "restarting") || run->ended();
    })) << run->output();
    run->send(SIGTERM);
    EXPECT_EQ(run->wait(kPatienceSeconds), 75) << run->output();
    const auto decision = last_entry("run", "decision");
    EXPECT_EQ(decision.at("rule"), "requeue") << decision;
    EXPECT_EQ(decision.at("action"), "stop");
    EXPECT_EQ(decision.at("exit_code"), 75);
    EXPECT_TRUE(
        contains(decision.at("reason").get<std::string>(), " steps since the last checkpoint are to be done again"))
        << decision;
    EXPECT_TRUE(contains(kiban({"status", "run"}).output, "decision    requeue: stopped as requested; "));
}

TEST_F(Leaving, ForTheThirdTimeWithoutAnythingDurableIsNotPutBackIntoTheQueueAndThatIsTold) {
    ASSERT_EQ(kiban({"prepare", "run.toml", "--run-dir", "run"}).exit_code, 0);
    const std::size_t before = journaled("run", "attempt_started");
    for (std::size_t i = 1; i <= 3; ++i) {
        EXPECT_EQ(journaled("run", "not_requeued"), 0U) << i;
        const auto run = start(pretrain("run", 1), {{"KIBAN_FAULT", "journal.sync=delay@2"}});  // of attempt_started
        ASSERT_TRUE(eventually(kPatienceSeconds, [&] {
            return journaled("run", "attempt_started") == before + i || run->ended();
        })) << run->output();
        run->send(SIGUSR1);  // before anything is loaded
        EXPECT_EQ(run->wait(kPatienceSeconds), 75) << run->output();
    }
    const auto told = last_entry("run", "not_requeued");
    ASSERT_TRUE(told.is_object());
    EXPECT_EQ(told.at("starts"), 3);
    EXPECT_TRUE(contains(last_entry("run", "coordinator_ended").at("reason").get<std::string>(),
                         "is not put back into the queue"));
    EXPECT_TRUE(contains(kiban({"status", "run"}).output, "decision    not_requeued: 3 starts in a row "));
}

}  // namespace
}  // namespace kiban::testing
