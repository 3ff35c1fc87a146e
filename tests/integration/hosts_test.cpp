// SPDX-License-Identifier: Apache-2.0
// Runs over several hosts: the curve of one host, and what happens when one of them fails or is cut off.
#include "tests/integration/hosts_run.h"

namespace kiban::testing {
namespace {

TEST_F(Hosts, ARunOverThreeHostsHasTheCurveOfTheSameRunOnOne) {
    const std::vector<std::vector<std::string>> cuts = {{"parallel.zero=3"},
                                                        {"parallel.tensor=2", "parallel.pipeline=2"}};
    for (const std::vector<std::string>& cut : cuts) {
        const std::string name = cut.front();
        ASSERT_EQ(kiban(short_run("one " + name, cut)).exit_code, 0);
        const Ended ended = on_hosts(short_run("three " + name, cut));
        ASSERT_EQ(ended.exit_code, 0) << ended.output;
        for (const char* host : {"on h1,", "on h2,", "on h3,"})
            EXPECT_TRUE(contains(ended.output, host)) << ended.output;
        EXPECT_EQ(csv("three " + name), csv("one " + name));
    }
}

TEST_F(Hosts, Row22AHostWhoseWorkersDieTwiceIsLeftOutAndTheSpareOneTakesItsPlace) {
    const std::vector<std::string> steps = {"--set", "train.steps=2000"};
    const auto run = start_on_hosts("1,1,1", pretrain("run", 2, steps));
    std::uint64_t step = 0;
    for (int kills = 1; kills <= 2; ++kills) {
        ASSERT_TRUE(wait_for_step("run", step + 60, *run));
        const auto now = status("run");
        ASSERT_TRUE(now);
        const int victim = worker_seen_from_here("run", 1, now->attempt);
        ASSERT_NE(victim, 0) << run->output();
        ASSERT_EQ(::kill(victim, SIGKILL), 0);
        ASSERT_TRUE(eventually(kPatienceSeconds, [&] {
            const auto later = status("run");
            return (later && later->attempt > now->attempt && later->state == "training") || run->ended();
        })) << run->output();
        step = last_step("run");
    }
    EXPECT_EQ(run->wait(kPatienceSeconds), 0) << run->output();
    EXPECT_TRUE(contains(run->output(), "2 crashes on host 'h2': going on without it")) << run->output();
    EXPECT_TRUE(contains(run->output(), "worker 1 of 2 is in: process")) << run->output();
    EXPECT_TRUE(contains(run->output(), "on h3,")) << run->output();
    EXPECT_EQ(status("run")->excluded_hosts, std::vector<std::string>{"h2"});
    ASSERT_EQ(kiban(pretrain("whole", 2, steps)).exit_code, 0);
    EXPECT_EQ(csv("run"), csv("whole")) << "the same batches, summed the same way";
}

// In the fixed order two workers sum as four do, so the curve is the same to the last digit.
TEST_F(Hosts, Row22AHostThatIsCutOffWithoutASpareIsLeftOutAndTheOthersGoOnWithTheSameBatches) {
    const auto run = start_on_hosts("2,1,1", fixed("run", 800));
    ASSERT_TRUE(wait_for_step("run", 60, *run));
    const auto now = status("run");
    ASSERT_TRUE(now);
    const int cut_off = worker_seen_from_here("run", 3, now->attempt);
    ASSERT_NE(cut_off, 0) << run->output();
    cut_off_host_of(cut_off);
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] {
        const auto later = status("run");
        return (later && later->attempt > now->attempt && later->state == "training") || run->ended();
    })) << run->output();
    EXPECT_TRUE(eventually(20, [&] { return worker_seen_from_here("run", 3, now->attempt) == 0; }))
        << "it does not go on by itself where nobody hears it";
    EXPECT_EQ(run->wait(kPatienceSeconds), 0) << run->output();
    const auto decision = last_entry("run", "decision");
    EXPECT_EQ(decision.at("rule"), "host_lost") << decision;
    EXPECT_EQ(decision.at("hosts"), nlohmann::json::array({"h3"})) << decision;
    EXPECT_EQ(last_entry("run", "workers_changed").at("to"), 2) << "three do not share four micro-batches";
    ASSERT_EQ(kiban(fixed("whole", 800)).exit_code, 0);
    EXPECT_EQ(csv("run"), csv("whole"));
}

}  // namespace
}  // namespace kiban::testing
