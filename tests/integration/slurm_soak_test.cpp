// SPDX-License-Identifier: Apache-2.0
// The batch scripts of slurm/ on a real Slurm: time limit, preemption, node failure, arrays and chains. After each the
// curve is that of a run that nobody disturbed.
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <sstream>

#include "tests/integration/slurm_cluster.h"

namespace kiban::testing {
namespace {

class SlurmSoak : public SlurmCluster {
  protected:
    // As the run file says, but as long as the test needs; `whole` is the run that nobody disturbs.
    std::vector<std::string> settings(std::uint64_t steps) const {
        return {"--set", fmt::format("train.steps={}", steps), "--set", "train.eval_interval_steps=0"};
    }
    std::uint64_t steps_of(double seconds) {
        const auto began = std::chrono::steady_clock::now();
        EXPECT_EQ(kiban(pretrain("measured", 2, settings(1000))).exit_code, 0);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
        return std::max<std::uint64_t>(1500, static_cast<std::uint64_t>(1000 * seconds / took.count()));
    }
    std::string submit(const std::string& script, std::vector<std::string> options, std::uint64_t steps) {
        std::vector<std::string> arguments = {"run.toml", "--run-dir", "run"};
        for (const std::string& word : settings(steps)) arguments.push_back(word);
        options.insert(options.end(), {"--ntasks=2", "--cpus-per-task=1", "--output=job.out"});
        return sbatch(options, script, arguments);
    }
    std::string job_log() const { return text_of(dir_ / "job.out"); }
    void expect_whole(const std::string& job, std::uint64_t steps) {
        ASSERT_TRUE(ends(job)) << state_of(job) << "\n" << job_log();
        EXPECT_EQ(state_of(job), "COMPLETED") << job_log();
        EXPECT_GE(journaled("run", "coordinator_started"), 2U) << "nothing disturbed it\n" << job_log();
        ASSERT_EQ(kiban(pretrain("whole", 2, settings(steps))).exit_code, 0);
        EXPECT_EQ(csv("run"), csv("whole")) << job_log();
    }
};

TEST_F(SlurmSoak, ATimeLimitSavesJustInTimeAndTheRequeuedJobGoesOn) {
    const std::uint64_t steps = steps_of(90);
    const std::string job = submit("single_node.sbatch", {"--time=1", "--signal=B:USR1@10"}, steps);
    expect_whole(job, steps);
    EXPECT_NE(field_of(job, "Restarts"), "0");
    EXPECT_TRUE(contains(job_log(), "asking Slurm to start job " + job + " again")) << job_log();
}

TEST_F(SlurmSoak, APreemptedRunIsRequeuedAndGoesOn) {
    const std::uint64_t steps = steps_of(40);
    const std::string job = submit("preemptible.sbatch", {"--time=30"}, steps);
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return last_step("run") >= 60; })) << job_log();
    const std::string urgent =
        sbatch({"--partition=high", "--nodes=2", "--ntasks=2", "--exclusive", "--wrap", "sleep 2"}, "", {});
    ASSERT_TRUE(ends(urgent));
    expect_whole(job, steps);
    EXPECT_NE(field_of(job, "Restarts"), "0");
}

TEST_F(SlurmSoak, ARunWhoseNodeFailsGoesOnOnAnother) {
    const std::uint64_t steps = steps_of(30);
    const std::string job = submit("single_node.sbatch", {"--time=30"}, steps);
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return last_step("run") >= 60; })) << job_log();
    const std::string node = field_of(job, "BatchHost");
    ASSERT_FALSE(node.empty());
    ASSERT_EQ(
        command_of({"scontrol", "update", "nodename=" + node, "state=drain", "reason=test"}, environment()).exit_code,
        0);
    ASSERT_EQ(
        command_of({"scontrol", "update", "nodename=" + node, "state=down", "reason=test"}, environment()).exit_code,
        0);
    expect_whole(job, steps);
    EXPECT_NE(field_of(job, "BatchHost"), node);
}

TEST_F(SlurmSoak, AnArraySweepTrainsEachTaskAsItsLineSays) {
    const std::vector<std::vector<std::string>> lines = {
        {"train.optimizer.learning_rate=1e-3"}, {"train.optimizer.learning_rate=3e-3", "run.seed=7"}, {"run.seed=8"}};
    const std::string hostile = "run.name=$(touch pwned);touch pwned`touch pwned`";
    {
        std::ofstream file(dir_ / "sweep.txt");
        for (const auto& line : lines) file << fmt::format("{}\n", fmt::join(line, " "));
        file << hostile << "\n";
    }
    const std::string job = sbatch({"--array=1-4", "--ntasks=2", "--cpus-per-task=1", "--time=10"},
                                   "array_sweep.sbatch", {"run.toml", "sweep.txt", "sweep"});
    for (std::size_t task = 1; task <= lines.size(); ++task) {
        const std::string run = fmt::format("sweep/task-{}", task);
        ASSERT_TRUE(ends(fmt::format("{}_{}", job, task)));
        std::vector<std::string> more;
        for (const std::string& setting : lines[task - 1]) more.insert(more.end(), {"--set", setting});
        const std::string direct = fmt::format("direct-{}", task);
        ASSERT_EQ(kiban(pretrain(direct, 2, more)).exit_code, 0);
        EXPECT_EQ(csv(run), csv(direct)) << text_of(dir_ / fmt::format("slurm-{}_{}.out", job, task));
    }
    EXPECT_NE(csv("sweep/task-1"), csv("sweep/task-2"));
    const std::string last = fmt::format("{}_{}", job, lines.size() + 1);
    ASSERT_TRUE(ends(last));
    EXPECT_EQ(state_of(last), "FAILED") << "the words of a line are handed on as they are";
    EXPECT_FALSE(std::filesystem::exists(dir_ / "pwned"));
}

TEST_F(SlurmSoak, AChainOfShortJobsIsOneLongRun) {
    const std::uint64_t steps = steps_of(70);
    std::string text = text_of(dir_ / "run.toml");
    text.replace(text.find("steps = 300"), 11, fmt::format("steps = {}", steps));
    text.replace(text.find("eval_interval_steps = 100"), 25, "eval_interval_steps = 0");
    std::ofstream(dir_ / "run.toml") << text;
    const Ended chain = command_of({KIBAN_SOURCE_DIR "/slurm/dependency_chain.sh", "4", "run.toml", "--time=1",
                                    "--ntasks=2", "--cpus-per-task=1", "--open-mode=append", "--output=job.out"},
                                   environment());
    ASSERT_EQ(chain.exit_code, 0) << chain.output;
    std::vector<std::string> jobs;
    std::istringstream ids(chain.output);
    for (std::string id; std::getline(ids, id);) jobs.push_back(id);
    ASSERT_EQ(jobs.size(), 4U);
    for (const std::string& job : jobs) ASSERT_TRUE(ends(job)) << job_log();
    EXPECT_EQ(state_of(jobs.front()), "FAILED") << "out of time is exit code 75\n" << job_log();
    EXPECT_EQ(field_of(jobs.front(), "ExitCode"), "75:0");
    EXPECT_EQ(state_of(jobs.back()), "COMPLETED") << job_log();
    EXPECT_GE(journaled("run", "coordinator_started"), 3U);
    ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
    EXPECT_EQ(csv("run"), csv("whole")) << job_log();
}

TEST_F(SlurmSoak, ARunOverTwoNodesBySrunSurvivesTheKillOfAWorker) {
    const std::string job = sbatch({"--time=10", "--nodes=2", "--export=ALL,INTERFACE=127.0.0.1", "--output=job.out"},
                                   "many_nodes.sbatch", {"run.toml", "--run-dir", "run"});
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return last_step("run") >= 60; })) << job_log();
    const int victim = worker_process("run", 1);
    ASSERT_NE(victim, 0) << job_log();
    ASSERT_EQ(::kill(victim, SIGKILL), 0);
    ASSERT_TRUE(ends(job)) << job_log();
    EXPECT_EQ(state_of(job), "COMPLETED") << job_log();
    EXPECT_EQ(journaled("run", "attempt_ended"), 2U) << job_log();
    ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
    EXPECT_EQ(csv("run"), csv("whole"));
}

}  // namespace
}  // namespace kiban::testing
