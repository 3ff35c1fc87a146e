// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "coordinator/launch/first_death.h"
#include "coordinator/launch/hosts.h"

namespace kiban::coordinator {
namespace {

TEST(FirstDeath, IsTheRankThatTheLauncherNames) {
    const auto of_mpirun = first_death(
        "[1,1]<stderr>:something\n--------\nmpirun noticed that process rank 3 with PID 77 on node h2 exited on signal "
        "9 (Killed).\n");
    ASSERT_TRUE(of_mpirun);
    EXPECT_EQ(of_mpirun->rank, 3);
    EXPECT_EQ(of_mpirun->host, "h2");
    const auto of_srun =
        first_death("srun: error: n1: task 5: Killed\nsrun: error: n2: task 7: Exited with exit code 1");
    ASSERT_TRUE(of_srun);
    EXPECT_EQ(of_srun->rank, 5);
    EXPECT_EQ(of_srun->host, "n1");
    for (const char* tasks : {"8-11", "8,10", "8-9,11"}) {
        const auto alike =
            first_death(fmt::format("srun: error: n3: tasks {}: Bus error\nsrun: error: n1: task 0: Killed", tasks));
        ASSERT_TRUE(alike) << tasks;
        EXPECT_EQ(alike->rank, 8) << tasks;
        EXPECT_EQ(alike->host, "n3") << tasks;
    }
    EXPECT_FALSE(first_death("no such thing"));
}

TEST(Hosts, ANodeListIsExpandedInOrder) {
    using Names = std::vector<std::string>;
    EXPECT_EQ(expand_node_list("n1"), Names{"n1"});
    EXPECT_EQ(expand_node_list("n[1-3,07],m.x"), (Names{"n1", "n2", "n3", "n07", "m.x"}));
    EXPECT_EQ(expand_node_list("r[09-11]-gpu"), (Names{"r09-gpu", "r10-gpu", "r11-gpu"}));
    EXPECT_EQ(expand_node_list(""), Names{});
    for (const char* wrong : {"n[1-", "n[a]", "n[1-3", "n;m", "n[1-999999999]"})
        EXPECT_TRUE(expand_node_list(wrong).empty()) << wrong;
}

TEST(Hosts, RoomIsThatOfTheAllocationOrTheHostFile) {
    const Environment slurm = {{"SLURM_JOB_NODELIST", "n[1-3]"}, {"SLURM_JOB_CPUS_PER_NODE", "8(x2),4"}};
    const std::map<std::string, int> expected = {{"n1", 4}, {"n2", 4}, {"n3", 2}};
    EXPECT_EQ(room_on_hosts(LauncherKind::srun, slurm, 2), expected);
    EXPECT_EQ(room_on_hosts(LauncherKind::mpirun, slurm, 2), expected) << "mpirun of an allocation";
    Environment limited = slurm;
    limited["SLURM_NTASKS_PER_NODE"] = "3";
    EXPECT_EQ(room_on_hosts(LauncherKind::srun, limited, 2),
              (std::map<std::string, int>{{"n1", 3}, {"n2", 3}, {"n3", 2}}));
    EXPECT_TRUE(room_on_hosts(LauncherKind::srun, {}, 2).empty());
    EXPECT_TRUE(room_on_hosts(LauncherKind::srun, {{"SLURM_JOB_NODELIST", "n[1-3]"}}, 2).empty());

    const auto file = std::filesystem::temp_directory_path() / fmt::format("kiban-hosts-{}", ::getpid());
    std::ofstream(file) << "# of a test\nh1 slots=2\nh2\n\n";
    const std::map<std::string, int> in_file = {{"h1", 2}, {"h2", 1}};
    EXPECT_EQ(room_on_hosts(LauncherKind::mpirun, {{"OMPI_MCA_orte_default_hostfile", file.string()}}, 2), in_file);
    EXPECT_TRUE(room_on_hosts(LauncherKind::mpirun, {}, 2).empty());
    std::filesystem::remove(file);
}

TEST(FailedHosts, AreThoseThatTheLauncherSaysAreGone) {
    using Set = std::set<std::string>;
    EXPECT_EQ(failed_hosts("srun: error: Node failure on n2\nsrun: error: n2: task 1: Killed\n"), Set{"n2"});
    EXPECT_EQ(
        failed_hosts("ORTE has lost communication with a remote daemon.\n\n  HNP daemon   : [[5,0],0] on node h1\n"
                     "  Remote daemon: [[5,0],2] on node h3\n"),
        Set{"h3"});
    EXPECT_EQ(failed_hosts("ssh: connect to host h2 port 22: No route to host\n"
                           "ssh: connect to host h4.x port 22: Connection timed out\n"),
              (Set{"h2", "h4.x"}));
    EXPECT_EQ(
        failed_hosts("srun: error: Task launch for StepId=7.1 failed on node n3: Communication connection failure\n"),
        Set{"n3"});
    EXPECT_EQ(failed_hosts("ssh: connect to host h2 port 22: Connection refused\nsrun: error: n1: task 0: Killed\n"),
              Set{});
}

TEST(Hosts, TheOthersHaveTheRoomOfThoseThatAreNotOut) {
    const std::map<std::string, int> room = {{"n1", 4}, {"n2", 4}, {"n3", 2}};
    EXPECT_EQ(room_left(room, {}), 10);
    EXPECT_EQ(room_left(room, {"n3"}), 8);
    EXPECT_EQ(room_left(room, {"n1", "n3"}), 4);
    EXPECT_EQ(room_left({}, {}), 0);
    EXPECT_EQ(room_left({{"n1.x.org", 4}, {"n2.x.org", 4}}, {"n1"}), 4) << "out by its short name";
    EXPECT_EQ(room_left({{"n1", 4}, {"n2", 4}}, {"n1.x.org"}), 4) << "out by its long name";
    EXPECT_EQ(room_left({{"10.0.0.1", 1}, {"10.0.0.2", 1}}, {"10.0.0.1"}), 1);
}

TEST(Hosts, AShortNameEndsAtTheFirstDotAndAnAddressStaysWhole) {
    EXPECT_EQ(short_host("n1.cluster.org"), "n1");
    EXPECT_EQ(short_host("n1"), "n1");
    EXPECT_EQ(short_host("10.0.0.1"), "10.0.0.1");
    EXPECT_EQ(short_host(""), "");
}

TEST(Hosts, ExcludedOnesAreKeptFromTheLauncher) {
    StepPlan plan;
    plan.launcher = LauncherKind::srun;
    plan.excluded_hosts = {"n2", "n4", "other"};
    plan.room = {{"n1", 2}, {"n2.x.org", 2}, {"n3", 2}, {"n4", 2}};
    const auto words = launch_arguments(plan);
    EXPECT_NE(std::ranges::find(words, "--exclude=n2.x.org,n4"), words.end()) << "as the launcher calls them";
    plan.launcher = LauncherKind::mpirun;
    plan.excluded_hosts = {"h2"};
    plan.room = {{"h1", 2}, {"h2", 1}, {"h3", 1}};
    const auto of_mpirun = launch_arguments(plan);
    const auto host = std::ranges::find(of_mpirun, "--host");
    ASSERT_NE(host, of_mpirun.end());
    EXPECT_EQ(*(host + 1), "h1:2,h3:1");
    plan.excluded_hosts.clear();
    const auto all = launch_arguments(plan);
    EXPECT_EQ(std::ranges::find(all, "--host"), all.end());
}

}  // namespace
}  // namespace kiban::coordinator
