// SPDX-License-Identifier: Apache-2.0
// A small run in a directory of its own, driven by the real executables.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/run/status.h"
#include "tests/support/process.h"

namespace kiban::testing {

struct Ended {
    int exit_code = -1;
    std::string output;
};

class RunTest : public ::testing::Test {
  protected:
    static constexpr std::uint64_t kSteps = 300;
    static constexpr double kPatienceSeconds = 240;  // the machine may be busy

    void SetUp() override;
    void TearDown() override;

    /// About 100 KB of English that every Debian has (the texts of its licenses), as text.txt.
    void write_text(const std::string& name = "text.txt") const;
    /// The run file of a small model over text.txt, as run.toml; `more` is added to the sections it names.
    void write_run_file() const;

    /// Starts `kiban` with these arguments in the test's directory.
    std::unique_ptr<Process> start(std::vector<std::string> arguments, const Process::Environment& environment = {});
    Ended kiban(std::vector<std::string> arguments, const Process::Environment& environment = {});
    /// As kiban(), for a command that reads a checkpoint of the run: fails the test unless retention would leave it
    /// (and it alone) while the command works.
    Ended kiban_reading(const std::string& run, std::vector<std::string> arguments);
    /// pretrain run.toml --run-dir RUN --workers N, and more.
    static std::vector<std::string> pretrain(const std::string& run, int workers, std::vector<std::string> more = {});

    std::uint64_t last_step(const std::string& run) const;  // of the curve
    std::optional<coordinator::RunStatus> status(const std::string& run) const;
    /// Waits until the run has done `step`; fails the test when the coordinator ends before. False then.
    bool wait_for_step(const std::string& run, std::uint64_t step, Process& coordinator) const;
    /// Faults for start(): before these steps, counted from where each attempt begins, its workers stand still for
    /// three seconds. So what a test does to a run meets it there, however fast the machine is.
    static Process::Environment standing_still_before(const std::vector<int>& steps);
    /// The process of worker `rank` of the attempt under way; 0 when there is none.
    int worker_process(const std::string& run, int rank) const;
    /// The mpirun or srun that the coordinator with this process id started; 0 when there is none.
    static int launcher_of(int coordinator);
    /// `kiban curve --csv` of the run.
    std::string csv(const std::string& run);
    /// How many journal entries are of this event.
    std::size_t journaled(const std::string& run, const std::string& event) const;
    /// Each training of the run, whose coordinator lived on, began at the newest checkpoint that it had by then; the
    /// step at which the last one began.
    std::uint64_t expect_each_training_from_the_newest(const std::string& run) const;

    std::filesystem::path dir_;
    int calls_ = 0;
};

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace kiban::testing
