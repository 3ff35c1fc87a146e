// SPDX-License-Identifier: Apache-2.0
// The preflight on the first of two hosts (tests/support/hosts.sh).
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/integration/run_test.h"

namespace kiban::testing {

class TwoHosts : public RunTest {
  protected:
    void SetUp() override {
        RunTest::SetUp();
        std::filesystem::create_directories(dir_ / "shared");
    }

    /// After `on_h2`, a command that is done on the second host.
    Ended preflight(const std::string& on_h2, const std::string& options) {
        const std::string hosts = KIBAN_SOURCE_DIR "/tests/support/hosts.sh";
        std::ofstream(dir_ / "line.sh") << fmt::format(
            "set -e\n{} on h2 {}\nexec {}/kiban doctor --preflight --dir {} --launcher mpirun --workers 2 {}\n", hosts,
            on_h2, KIBAN_BIN_DIR, (dir_ / "shared").string(), options);
        std::filesystem::current_path(dir_);
        Process process({hosts, "1,1", "bash", (dir_ / "line.sh").string()}, dir_ / fmt::format("output-{}", ++calls_));
        const int exit_code = process.wait(kPatienceSeconds);
        return {exit_code, process.output()};
    }
    bool nothing_is_left() const { return std::filesystem::is_empty(dir_ / "shared"); }
};

}  // namespace kiban::testing
