// SPDX-License-Identifier: Apache-2.0
// A run under a real Slurm of this machine: submitted, killed, exact.
#include <fmt/format.h>

#include "tests/integration/slurm_cluster.h"

namespace kiban::testing {
namespace {

class Slurm : public SlurmCluster {};

TEST_F(Slurm, AKilledWorkerOfASubmittedRunLeavesTheCurveAsItWouldHaveBeen) {
    ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
    Process::Environment settings = environment();
    settings.merge(standing_still_before({70}));
    const Ended submitted =
        kiban({"submit", "run.toml", "--run-dir", "run", "--workers", "2", "--", "--time=10"}, settings);
    ASSERT_EQ(submitted.exit_code, 0) << submitted.output;
    const std::string job = submitted.output.substr(0, submitted.output.find('\n'));
    ASSERT_FALSE(job.empty() || job.find_first_not_of("0123456789") != std::string::npos) << submitted.output;

    const auto log = [&] {
        Process cat({"cat", (dir_ / "run" / fmt::format("slurm-{}.out", job)).string()},
                    dir_ / fmt::format("cat-{}", ++calls_));
        cat.wait(10);
        return cat.output();
    };
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return last_step("run") >= 60; })) << log() << state_of(job);
    const int victim = worker_process("run", 1);
    ASSERT_NE(victim, 0) << log();
    ASSERT_EQ(::kill(victim, SIGKILL), 0);
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return state_of(job) == "COMPLETED" || state_of(job) == "FAILED"; }))
        << log();
    EXPECT_EQ(state_of(job), "COMPLETED") << log();
    EXPECT_EQ(journaled("run", "attempt_ended"), 2u) << "one kill, and the end\n" << log();
    EXPECT_EQ(csv("run"), csv("whole"));
    EXPECT_TRUE(contains(log(), " min are left; the run saves and leaves in time for that")) << log();
}

TEST_F(Slurm, ASubmittedRunThatNamesNoThreadsTakesItsJobsShare) {
    const Ended submitted = kiban({"submit", "run.toml", "--run-dir", "run", "--workers", "2", "--set",
                                   "train.steps=20", "--set", "launch.threads_per_worker=0", "--", "--time=10"},
                                  environment());
    ASSERT_EQ(submitted.exit_code, 0) << submitted.output;
    const std::string job = submitted.output.substr(0, submitted.output.find('\n'));
    ASSERT_TRUE(
        eventually(kPatienceSeconds, [&] { return state_of(job) == "COMPLETED" || state_of(job) == "FAILED"; }));
    EXPECT_EQ(state_of(job), "COMPLETED");
    EXPECT_EQ(last_step("run"), 20u);
}

// The preflight of many_nodes.sbatch comes first: each node is looked at, then a run over both by mpirun.
TEST_F(Slurm, ARunOverTwoNodesByMpirunHasTheCurveOfOneOnThisMachine) {
    const std::vector<std::string> steps = {"--set", "train.steps=60"};
    ASSERT_EQ(kiban(pretrain("whole", 2, steps)).exit_code, 0);
    const std::string job = sbatch({"--time=10", "--nodes=2", "--export=ALL,LAUNCHER=mpirun,INTERFACE=127.0.0.1"},
                                   "many_nodes.sbatch", {"run.toml", "--run-dir", "run", "--set", "train.steps=60"});
    ASSERT_TRUE(ends(job));
    const std::string log = text_of(dir_ / fmt::format("slurm-{}_4294967294.out", job));
    EXPECT_EQ(state_of(job), "COMPLETED") << log;
    EXPECT_TRUE(contains(log, "2 workers on 2: n1, n2")) << log;
    EXPECT_TRUE(contains(log, "every node that was looked at is fit for a run")) << log;
    EXPECT_TRUE(contains(log, "on n1,") && contains(log, "on n2,")) << log;
    EXPECT_EQ(csv("run"), csv("whole"));
}

TEST_F(Slurm, OutsideOfAnAllocationSrunIsRefusedAndSaysHowToSubmit) {
    const Ended ended = kiban(pretrain("run", 1, {"--set", "launch.launcher=srun"}), environment());
    EXPECT_EQ(ended.exit_code, 78);
    EXPECT_TRUE(contains(ended.output, "kiban submit RUN.toml")) << ended.output;
}

TEST_F(Slurm, ASubmissionToNodesThatCannotReachTheCoordinatorIsRefusedAndSaysWhatToName) {
    for (const std::vector<std::string>& two :
         {std::vector<std::string>{"--nodes", "2"}, std::vector<std::string>{"--", "--nodes=2"}}) {
        std::vector<std::string> words = {"submit", "run.toml", "--run-dir", "run"};
        words.insert(words.end(), two.begin(), two.end());
        const Ended ended = kiban(words, environment());
        EXPECT_EQ(ended.exit_code, 78);
        EXPECT_TRUE(
            contains(ended.output, "launch.control_interface '127.0.0.1' reaches no other node, and this job has 2"))
            << ended.output;
        EXPECT_FALSE(std::filesystem::exists(dir_ / "run"));
    }
}

TEST_F(Slurm, OnALoginNodeATrainingIsRefusedBeforeAnythingIsMade) {
    const Ended ended = kiban(pretrain("run", 1), environment());
    EXPECT_EQ(ended.exit_code, 78);
    EXPECT_TRUE(contains(ended.output, "submit the run with 'kiban submit RUN.toml'")) << ended.output;
    EXPECT_FALSE(std::filesystem::exists(dir_ / "run"));
}

}  // namespace
}  // namespace kiban::testing
