// SPDX-License-Identifier: Apache-2.0
// More ways in which a host of a run is lost, each with another host that is idle until then.
#include <csignal>
#include <functional>

#include "tests/integration/hosts_run.h"

namespace kiban::testing {
namespace {

class HostsSoak : public Hosts {
  protected:
    static std::vector<std::string> settings(const std::string& run) {
        return pretrain(run, 2, {"--set", "train.steps=2000", "--set", "supervise.hang_seconds=5"});
    }
    // A run over h1 and h2, with h3 idle, whose second worker's host is lost in this way.
    void lose_second_host(const std::function<void(int worker)>& how) {
        const auto run = start_on_hosts("1,1,1", settings("run"));
        ASSERT_TRUE(wait_for_step("run", 60, *run));
        const auto now = status("run");
        ASSERT_TRUE(now);
        const int worker = worker_seen_from_here("run", 1, now->attempt);
        ASSERT_NE(worker, 0) << run->output();
        how(worker);
        EXPECT_EQ(run->wait(kPatienceSeconds), 0) << run->output();
        const auto decision = last_entry("run", "decision");
        EXPECT_EQ(decision.value("rule", ""), "host_lost") << decision << run->output();
        EXPECT_EQ(decision.value("hosts", nlohmann::json()), nlohmann::json::array({"h2"})) << decision;
        EXPECT_TRUE(contains(run->output(), "on h3,")) << run->output();
        EXPECT_EQ(journaled("run", "workers_changed"), 0u);
        ASSERT_EQ(kiban(settings("whole")).exit_code, 0);
        EXPECT_EQ(csv("run"), csv("whole"));
    }
};

TEST_F(HostsSoak, Row22AHostThatIsCutOffWithASpareIsReplacedByIt) {
    lose_second_host([this](int worker) { cut_off_host_of(worker); });
}

TEST_F(HostsSoak, Row22AHostWhoseDaemonIsGoneWithItsWorkersIsReplacedAtOnce) {
    lose_second_host([](int worker) {
        std::ifstream file(fmt::format("/proc/{}/stat", worker));
        int pid = 0;
        int parent = 0;
        std::string command;
        std::string state;
        ASSERT_TRUE(file >> pid >> command >> state >> parent);
        std::string daemon;
        ASSERT_TRUE(std::ifstream(fmt::format("/proc/{}/comm", parent)) >> daemon);  // a file that says it has 0 bytes
        ASSERT_EQ(daemon, "orted");
        ::kill(parent, SIGKILL);
        ::kill(worker, SIGKILL);
    });
}

// Another coordinator, on hosts that are all well: it knows of the one that was lost, until it is told otherwise.
TEST_F(HostsSoak, Row22WhatWasLeftOutStaysSoOverStartsOfTheCoordinatorUntilItIsToldOtherwise) {
    {
        const auto run = start_on_hosts("2,1,1", fixed("run", 600));
        ASSERT_TRUE(wait_for_step("run", 60, *run));
        const int worker = worker_seen_from_here("run", 3, status("run")->attempt);
        ASSERT_NE(worker, 0) << run->output();
        cut_off_host_of(worker);
        ASSERT_EQ(run->wait(kPatienceSeconds), 0) << run->output();
    }
    ASSERT_EQ(kiban(fixed("whole", 600)).exit_code, 0);
    const Ended again = on_hosts(fixed("run", 610));
    EXPECT_EQ(again.exit_code, 0) << again.output;
    EXPECT_TRUE(contains(again.output, "starting without hosts h3, as before")) << again.output;
    EXPECT_TRUE(contains(again.output, "worker 1 of 2 is in")) << again.output;
    EXPECT_EQ(status("run")->excluded_hosts, std::vector<std::string>{"h3"});
    ASSERT_EQ(kiban(fixed("whole", 610)).exit_code, 0);
    const Ended all = on_hosts(fixed("run", 620, {"--set", "supervise.exclude_hours=0"}));
    EXPECT_EQ(all.exit_code, 0) << all.output;
    EXPECT_TRUE(contains(all.output, "worker 3 of 4 is in")) << all.output;
    EXPECT_TRUE(contains(monitoring::read_text(dir_ / "run" / "run.toml"), "workers = 4")) << "as the user asked";
    ASSERT_EQ(kiban(fixed("whole", 620)).exit_code, 0);
    EXPECT_EQ(csv("run"), csv("whole"));
}

}  // namespace
}  // namespace kiban::testing
