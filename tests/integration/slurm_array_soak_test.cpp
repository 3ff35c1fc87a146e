// SPDX-License-Identifier: Apache-2.0
// slurm/array_sweep.sbatch on a real Slurm: each task is a run of its own, in what it trains and in how it is requeued.
#include <fmt/ranges.h>

#include <fstream>

#include "tests/integration/slurm_cluster.h"

namespace kiban::testing {
namespace {

class SlurmArray : public SlurmCluster {
  protected:
    void write_sweep(const std::vector<std::vector<std::string>>& lines) const {
        std::ofstream file(dir_ / "sweep.txt");
        for (const auto& line : lines) file << fmt::format("{}\n", fmt::join(line, " "));
    }
    bool comes_to_step(const std::string& run, std::uint64_t step, std::size_t start) {
        return eventually(kPatienceSeconds, [&] {
            return std::filesystem::exists(dir_ / run / "journal.jsonl") &&
                   journaled(run, "coordinator_started") >= start && last_step(run) >= step;
        });
    }
};

TEST_F(SlurmArray, AnArraySweepTrainsEachTaskAsItsLineSays) {
    const std::vector<std::vector<std::string>> lines = {
        {"train.optimizer.learning_rate=1e-3"}, {"train.optimizer.learning_rate=3e-3", "run.seed=7"}, {"run.seed=8"}};
    const std::string hostile = "run.name=$(touch pwned);touch pwned`touch pwned`";
    std::vector<std::vector<std::string>> written = lines;
    written.push_back({hostile});
    write_sweep(written);
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

// Of one task SLURM_JOB_ID is the array's id too: to requeue that would be to requeue all of them.
TEST_F(SlurmArray, ATaskThatIsToldToLeaveGoesBackIntoTheQueueAlone) {
    write_sweep({{"train.steps=1000000"}, {"train.steps=1000000"}});
    const std::string job = sbatch({"--array=1-2", "--ntasks=1", "--cpus-per-task=1", "--time=30"},
                                   "array_sweep.sbatch", {"run.toml", "sweep.txt", "sweep"});
    const auto task = [](int number) { return fmt::format("sweep/task-{}", number); };
    std::vector<std::size_t> starts = {1, 1};
    for (const int told : {1, 2}) {
        for (const int each : {1, 2}) {
            ASSERT_TRUE(comes_to_step(task(each), 20, starts.at(static_cast<std::size_t>(each) - 1)));
        }
        const std::uint64_t before = last_step(task(told));
        const std::string id = fmt::format("{}_{}", job, told);
        ASSERT_EQ(command_of({"scancel", "--batch", "--signal=USR1", id}, environment()).exit_code, 0);
        const std::size_t start = ++starts.at(static_cast<std::size_t>(told) - 1);
        ASSERT_TRUE(comes_to_step(task(told), before + 20, start)) << text_of(dir_ / fmt::format("slurm-{}.out", id));
        for (const int each : {1, 2}) {
            const std::size_t expected = starts.at(static_cast<std::size_t>(each) - 1);
            EXPECT_EQ(journaled(task(each), "coordinator_started"), expected) << task(each);
            EXPECT_EQ(field_of(fmt::format("{}_{}", job, each), "Restarts"), std::to_string(expected - 1));
        }
    }
    ASSERT_EQ(command_of({"scancel", job}, environment()).exit_code, 0);
    for (const int each : {1, 2}) EXPECT_TRUE(ends(fmt::format("{}_{}", job, each)));
}

}  // namespace
}  // namespace kiban::testing
