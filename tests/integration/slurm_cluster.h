// SPDX-License-Identifier: Apache-2.0
// A real Slurm of this machine for a test: two virtual nodes, or as many as it says, up in a second, gone with the
// test.
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/integration/run_test.h"

namespace kiban::testing {

class SlurmCluster : public RunTest {
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
        return command_of(
            {KIBAN_SOURCE_DIR "/slurm/test_cluster.sh", (dir_ / "slurm").string(), command, fmt::format("{}", nodes_)},
            {{"SLURM_BASE_PORT", std::to_string(17000 + ::getpid() % 700 * 20)}});
    }
    Process::Environment environment() const {
        return {{"SLURM_CONF", (dir_ / "slurm/etc/slurm.conf").string()}, {"KIBAN", KIBAN_BIN_DIR "/kiban"}};
    }
    Ended command_of(const std::vector<std::string>& words, const Process::Environment& environment = {}) {
        std::filesystem::current_path(dir_);
        Process process(words, dir_ / fmt::format("command-{}", ++calls_), environment);
        const int exit_code = process.wait(60);
        return {exit_code, process.output()};
    }

    /// A script of slurm/ with its arguments; the job's id.
    std::string sbatch(std::vector<std::string> options, const std::string& script,
                       std::vector<std::string> arguments) {
        std::vector<std::string> words = {"sbatch", "--parsable", "--output=slurm-%A_%a.out"};
        words.insert(words.end(), options.begin(), options.end());
        if (!script.empty()) words.push_back(KIBAN_SOURCE_DIR "/slurm/" + script);
        words.insert(words.end(), arguments.begin(), arguments.end());
        const Ended submitted = command_of(words, environment());
        EXPECT_EQ(submitted.exit_code, 0) << submitted.output;
        return first_line(submitted.output);
    }

    /// A field of `scontrol show job`; empty when Slurm has forgotten the job.
    std::string field_of(const std::string& job, const std::string& field) {
        const std::string text = command_of({"scontrol", "show", "job", job}, environment()).output;
        const auto at = text.find(field + "=");
        const std::size_t begin = at + field.size() + 1;
        return at == std::string::npos ? "" : text.substr(begin, text.find_first_of(" \n", begin) - begin);
    }
    std::string state_of(const std::string& job) { return field_of(job, "JobState"); }
    bool ends(const std::string& job) {
        return eventually(kPatienceSeconds, [&] {
            const std::string state = state_of(job);
            return state == "COMPLETED" || state == "FAILED" || state == "CANCELLED" || state == "TIMEOUT";
        });
    }

    int nodes_ = 2;  // set before SetUp()

    static std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }
    std::string text_of(const std::filesystem::path& file) const {
        std::ifstream in(file, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
};

}  // namespace kiban::testing
