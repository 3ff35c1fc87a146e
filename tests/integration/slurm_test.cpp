// SPDX-License-Identifier: Apache-2.0
// A run under a real Slurm of this machine: submitted, killed, exact.
#include <fmt/format.h>

#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

class Slurm : public RunTest {
  protected:
    void SetUp() override {
        RunTest::SetUp();
        const Ended up = cluster("start");
        ASSERT_EQ(up.exit_code, 0) << up.output;
    }
    void TearDown() override {
        cluster("stop");
        RunTest::TearDown();
    }

    Ended cluster(const std::string& command) {
        Process process({KIBAN_SOURCE_DIR "/slurm/test_cluster.sh", (dir_ / "slurm").string(), command, "2"},
                        dir_ / ("cluster-" + command),
                        {{"SLURM_BASE_PORT", std::to_string(17000 + ::getpid() % 1000 * 20)}});
        const int exit_code = process.wait(60);
        return {exit_code, process.output()};
    }
    Process::Environment environment() const { return {{"SLURM_CONF", (dir_ / "slurm/etc/slurm.conf").string()}}; }

    // The state of a job as squeue says it; empty when Slurm has forgotten it.
    std::string state_of(const std::string& job) {
        Process process({"scontrol", "show", "job", job}, dir_ / fmt::format("scontrol-{}", ++calls_), environment());
        process.wait(30);
        const std::string text = process.output();
        const auto at = text.find("JobState=");
        return at == std::string::npos ? "" : text.substr(at + 9, text.find_first_of(" \n", at) - at - 9);
    }
};

TEST_F(Slurm, AKilledWorkerOfASubmittedRunLeavesTheCurveAsItWouldHaveBeen) {
    ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
    const Ended submitted =
        kiban({"submit", "run.toml", "--run-dir", "run", "--workers", "2", "--", "--time=10"}, environment());
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

TEST_F(Slurm, OutsideOfAnAllocationSrunIsRefusedAndSaysHowToSubmit) {
    const Ended ended = kiban(pretrain("run", 1, {"--set", "launch.launcher=srun"}), environment());
    EXPECT_EQ(ended.exit_code, 78);
    EXPECT_TRUE(contains(ended.output, "kiban submit RUN.toml")) << ended.output;
}

TEST_F(Slurm, OnALoginNodeATrainingIsRefusedBeforeAnythingIsMade) {
    const Ended ended = kiban(pretrain("run", 1), environment());
    EXPECT_EQ(ended.exit_code, 78);
    EXPECT_TRUE(contains(ended.output, "submit the run with 'kiban submit RUN.toml'")) << ended.output;
    EXPECT_FALSE(std::filesystem::exists(dir_ / "run"));
}

}  // namespace
}  // namespace kiban::testing
