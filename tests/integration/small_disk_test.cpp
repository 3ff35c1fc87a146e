// SPDX-License-Identifier: Apache-2.0
// A run directory on a disk that is full for a while.
#include <fmt/format.h>
#include <sys/mount.h>

#include <fstream>

#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

// A disk of 24 MiB. Needs root.
class Disk {
  public:
    explicit Disk(const std::filesystem::path& at) : at_(at) {
        std::filesystem::create_directories(at);
        EXPECT_EQ(::mount("tmpfs", at.c_str(), "tmpfs", 0, "size=24m"), 0) << "needs root";
    }
    ~Disk() { ::umount2(at_.c_str(), MNT_DETACH); }
    Disk(const Disk&) = delete;
    Disk& operator=(const Disk&) = delete;

    // To the last byte, what others have freed since the last call, too.
    void fill() const {
        std::ofstream filler(at_ / "filler", std::ios::app);
        const std::string chunk(1 << 20, 'x');
        while (filler << chunk << std::flush) {
        }
    }
    void free() const { std::filesystem::remove(at_ / "filler"); }

  private:
    std::filesystem::path at_;
};

class SmallDisk : public RunTest {
  protected:
    // A save that fails is another matter than the coordinator's own files.
    static std::vector<std::string> run_of(const std::string& run) {
        return pretrain(run, 2,
                        {"--set", "train.steps=1000", "--set", "train.eval_interval_steps=0", "--set",
                         "checkpoint.max_failures=1000"});
    }
    static std::size_t count(const std::string& text, const std::string& part) {
        std::size_t found = 0;
        for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
        return found;
    }
};

TEST_F(SmallDisk, Row06ARunWhoseDiskIsFullForSomeSecondsGoesOnByItselfWithTheCurveAsItWouldHaveBeen) {
    ASSERT_EQ(kiban(run_of("whole")).exit_code, 0);
    const Disk disk(dir_ / "run");
    const auto run = start(run_of("run"), standing_still_before({60}));
    ASSERT_TRUE(wait_for_step("run", 50, *run));
    // Until the coordinator has found no room for the next attempt's lease either.
    const bool waited = eventually(kPatienceSeconds, [&] {
        disk.fill();
        return count(run->output(), "; starting again in ") >= 3 || run->ended();
    });
    disk.free();
    ASSERT_TRUE(waited && !run->ended()) << run->output();
    EXPECT_EQ(run->wait(kPatienceSeconds), 0) << run->output();
    EXPECT_TRUE(contains(run->output(), "No space left on device")) << run->output();
    EXPECT_TRUE(contains(run->output(), "run/lease/epoch-")) << run->output();
    EXPECT_EQ(csv("run"), csv("whole"));
    EXPECT_GE(status("run")->restarts, 3U);
    EXPECT_TRUE(contains(status("run")->decision, "finished: ")) << status("run")->decision;
    EXPECT_GE(journaled("run", "training"), 2U);
    EXPECT_EQ(journaled("run", "coordinator_ended"), 1U) << "lines that were cut off do not hide those behind them";
    EXPECT_EQ(kiban({"verify", "run"}).exit_code, 0);
}

}  // namespace
}  // namespace kiban::testing
