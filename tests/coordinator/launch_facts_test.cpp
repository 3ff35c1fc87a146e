// SPDX-License-Identifier: Apache-2.0
// What the doctor says about launching before a job fails for it.
#include "coordinator/launch/launch_facts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "coordinator/run/preflight.h"

namespace kiban::coordinator {
namespace {

using Kind = Finding::Kind;

LaunchFacts good() {
    return {.has_srun = true,
            .has_mpirun = true,
            .pmi_plugins = "none pmix pmi2",
            .nodes = 2,
            .in_step = false,
            .open_mpi_rank = "",
            .interface = "ib0",
            .interfaces = {"lo 127.0.0.1", "eth0 10.0.0.7", "ib0 10.1.0.7"},
            .directory = "/home/runs",
            .file_system = "nfs",
            .file_clock_seconds = 0.01};
}

Finding finding(const LaunchFacts& facts, const std::string& what) {
    for (const Finding& found : explain(facts)) {
        if (found.what == what) return found;
    }
    ADD_FAILURE() << "nothing about " << what;
    return {};
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(LaunchFacts, OfAGoodClusterAreFine) {
    for (const Finding& found : explain(good())) EXPECT_EQ(found.kind, Kind::fine) << found.what << ": " << found.text;
}

TEST(LaunchFacts, AnSrunWithoutPmixIsExplained) {
    LaunchFacts facts = good();
    facts.pmi_plugins = "none pmi2 cray_shasta";
    EXPECT_EQ(finding(facts, "PMI").kind, Kind::note);
    EXPECT_TRUE(contains(finding(facts, "PMI").text, "launch.launcher = \"mpirun\""));
    facts.has_mpirun = false;
    EXPECT_EQ(finding(facts, "PMI").kind, Kind::missing);
    facts.pmi_plugins = "";
    EXPECT_TRUE(contains(finding(facts, "PMI").text, "SLURM_CONF"));
}

TEST(LaunchFacts, ACoordinatorThatMpirunStartedIsOneOfMany) {
    LaunchFacts facts = good();
    facts.open_mpi_rank = std::string("4");  // an assigned literal of one letter: GCC 12 warns for nothing
    EXPECT_EQ(finding(facts, "started by").kind, Kind::missing);
    EXPECT_TRUE(contains(finding(facts, "started by").text, "one of 4 processes"));
    facts.open_mpi_rank = "";
    facts.in_step = true;
    EXPECT_EQ(finding(facts, "started by").kind, Kind::note);
}

TEST(LaunchFacts, AnInterfaceThatOtherNodesDoNotReachIsNamedWithThoseThereAre) {
    LaunchFacts facts = good();
    for (const char* loopback : {"127.0.0.1", "lo"}) {
        facts.interface = loopback;
        EXPECT_EQ(finding(facts, "interface").kind, Kind::missing);
        EXPECT_TRUE(contains(finding(facts, "interface").text, "eth0 10.0.0.7, ib0 10.1.0.7"));
    }
    facts.nodes = 1;
    EXPECT_EQ(finding(facts, "interface").kind, Kind::fine) << "one node needs no other";
    facts.interface = "eth1";
    EXPECT_TRUE(contains(finding(facts, "interface").text, "'eth1' is none of this machine"));
    facts.interface = "10.0.0.7";
    EXPECT_EQ(finding(facts, "interface").kind, Kind::fine);
    facts.interface = "10.0.0";
    EXPECT_EQ(finding(facts, "interface").kind, Kind::missing);
}

TEST(LaunchFacts, ADiskOfOneNodeIsNotedWhereThereAreSeveral) {
    LaunchFacts facts = good();
    facts.file_system = "tmpfs";
    EXPECT_EQ(finding(facts, "shared directory").kind, Kind::note);
    facts.nodes = 1;
    EXPECT_EQ(finding(facts, "shared directory").kind, Kind::fine);
}

TEST(LaunchFacts, AClockThatDiffersFromTheFileServersIsNoted) {
    LaunchFacts facts = good();
    facts.file_clock_seconds = -3.5;
    EXPECT_EQ(finding(facts, "clock").kind, Kind::note);
    EXPECT_TRUE(contains(finding(facts, "clock").text, "-3.5 s"));
    facts.file_clock_seconds.reset();
    EXPECT_EQ(finding(facts, "clock").kind, Kind::note);
}

TEST(LaunchFacts, AreReadFromThisMachine) {
    const LaunchFacts facts = launch_facts("/tmp", "127.0.0.1", {{"PATH", "/nowhere"}, {"SLURM_JOB_NUM_NODES", "3"}});
    EXPECT_FALSE(facts.has_mpirun);
    EXPECT_EQ(facts.nodes, 3);
    EXPECT_EQ(facts.directory, "/tmp");
    EXPECT_FALSE(facts.file_system.empty());
    EXPECT_NE(std::find(facts.interfaces.begin(), facts.interfaces.end(), "lo 127.0.0.1"), facts.interfaces.end());
    ASSERT_TRUE(facts.file_clock_seconds.has_value());
    EXPECT_LT(std::abs(*facts.file_clock_seconds), 30);  // a slow disk counts
}

TEST(LaunchFailures, AreExplainedByWhatWasSaid) {
    const std::pair<const char*, const char*> cases[] = {
        {"worker 1 failed at step 0: ConfigError: worker 0 on 'n2' says the world has 1 workers, expected 4", "PMI"},
        {"ConfigError: cannot start training: expected a world of 4 workers, found 1", "PMI"},
        {"kiban: ConfigError: host 'n2' does not see the run directory '/tmp/x'", "shared directory"},
        {"CommError: cannot reach the coordinator of '/x', attempt 1, at 127.0.0.1", "interface"},
        {"worker 3 did not start in time", "workers"},
        {"There are not enough slots available in the system", "slots"}};
    for (const auto& [reason, what] : cases) {
        const Finding found = explain_launch_failure(reason);
        EXPECT_EQ(found.what, what) << reason;
        EXPECT_EQ(found.kind, Kind::missing);
        EXPECT_TRUE(contains(found.text, reason)) << "the words themselves are there too";
    }
    EXPECT_EQ(explain_launch_failure("something new"), (Finding{Kind::missing, "workers", "something new"}));
}

}  // namespace
}  // namespace kiban::coordinator
