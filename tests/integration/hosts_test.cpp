// SPDX-License-Identifier: Apache-2.0
// Whole runs over several hosts (tests/support/hosts.sh): the coordinator on the first, workers on all.
#include <fmt/format.h>

#include <fstream>
#include <iterator>

#include "monitoring/file.h"
#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

class Hosts : public RunTest {
  protected:
    static std::vector<std::string> short_run(const std::string& run, const std::vector<std::string>& cut) {
        std::vector<std::string> more = {"--set", "train.steps=20", "--set", "train.schedule.warmup_steps=2"};
        for (const std::string& setting : cut) more.insert(more.end(), {"--set", setting});
        return pretrain(run, 4, more);
    }

    // The same command on the first of three hosts; the channel and MPI meet at eth0.
    std::unique_ptr<Process> start_on_hosts(const std::string& hosts, const std::vector<std::string>& arguments) {
        std::vector<std::string> words = {KIBAN_SOURCE_DIR "/tests/support/hosts.sh", hosts, KIBAN_BIN_DIR "/kiban"};
        words.insert(words.end(), arguments.begin(), arguments.end());
        words.insert(words.end(), {"--set", "launch.control_interface=eth0", "--set", "launch.launcher=mpirun"});
        std::filesystem::current_path(dir_);
        return std::make_unique<Process>(words, dir_ / fmt::format("output-{}", ++calls_));
    }
    Ended on_hosts(const std::vector<std::string>& arguments) {
        const auto process = start_on_hosts("2,1,1", arguments);
        const int exit_code = process->wait(kPatienceSeconds);
        return {exit_code, process->output()};
    }

    // Process of a worker of this run's attempt as seen from here, whatever host it is on; 0: there is none.
    int worker_seen_from_here(const std::string& run, int rank, std::uint32_t attempt) const {
        const auto has = [](const std::string& text, const std::string& variable) {
            return (std::string(1, '\0') + text).find('\0' + variable + '\0') != std::string::npos;
        };
        for (const std::string& name : monitoring::names_in("/proc")) {
            if (name.find_first_not_of("0123456789") != std::string::npos) continue;
            std::ifstream file("/proc/" + name + "/environ", std::ios::binary);
            const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
            if (has(text, "KIBAN_RUN_DIR=" + (dir_ / run).string()) &&
                has(text, fmt::format("OMPI_COMM_WORLD_RANK={}", rank)) &&
                has(text, fmt::format("KIBAN_ATTEMPT={}", attempt)))
                return std::stoi(name);
        }
        return 0;
    }
};

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

}  // namespace
}  // namespace kiban::testing
