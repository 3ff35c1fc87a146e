// SPDX-License-Identifier: Apache-2.0
// Whole runs over several hosts (tests/support/hosts.sh): the coordinator on the first, workers on all.
#include <fmt/format.h>

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
    Ended on_hosts(const std::vector<std::string>& arguments) {
        std::vector<std::string> words = {KIBAN_SOURCE_DIR "/tests/support/hosts.sh", "2,1,1", KIBAN_BIN_DIR "/kiban"};
        words.insert(words.end(), arguments.begin(), arguments.end());
        words.insert(words.end(), {"--set", "launch.control_interface=eth0", "--set", "launch.launcher=mpirun"});
        std::filesystem::current_path(dir_);
        Process process(words, dir_ / fmt::format("output-{}", ++calls_));
        const int exit_code = process.wait(kPatienceSeconds);
        return {exit_code, process.output()};
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

}  // namespace
}  // namespace kiban::testing
