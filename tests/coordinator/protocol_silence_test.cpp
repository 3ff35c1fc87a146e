// SPDX-License-Identifier: Apache-2.0
// What a worker that was stopped, or whose machine slept, thinks of its coordinator.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>

#include "coordinator/protocol/coordinator_channel.h"
#include "coordinator/protocol/silence.h"
#include "coordinator/protocol/wire.h"
#include "coordinator/protocol/worker_channel.h"
#include "monitoring/error.h"
#include "tests/support/process.h"

namespace kiban::coordinator {
namespace {

constexpr double kTimeout = 3;

void sleep_seconds(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

TEST(Silence, IsTheTimeSinceTheLastWord) {
    Silence silence(1, 100);
    EXPECT_EQ(silence.look(101, false), 1);
    EXPECT_EQ(silence.look(101.5, false), 1.5);
    EXPECT_EQ(silence.look(102.5, true), 0);
    EXPECT_EQ(silence.look(103.5, false), 1);
}

TEST(Silence, APauseOfTheLoopItselfDoesNotCountAndWhoIsGoneIsNoticedWithinTheTimeoutAfterIt) {
    Silence silence(1, 100);
    silence.look(101, true);
    EXPECT_EQ(silence.look(102, false), 1);
    double now = 702;
    EXPECT_EQ(silence.look(now, false), 2) << "ten minutes, of which the second to the next look ran";
    while (silence.look(now, false) <= 30) ++now;
    EXPECT_EQ(now, 731);
}

class StoppedWorker : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "kiban-silence-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        run_dir_ = name;
        worker_ = ::fork();  // before this process has threads
        ASSERT_GE(worker_, 0);
        if (worker_ == 0) be_a_worker();
    }
    void TearDown() override {
        if (worker_ > 0) {
            ::kill(worker_, SIGKILL);
            ::waitpid(worker_, nullptr, 0);
        }
        std::filesystem::remove_all(run_dir_);
    }

    // Ends with 0 when its coordinator's Stop comes, with 1 when it counts as lost before.
    [[noreturn]] void be_a_worker() const {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        int code = 2;
        try {
            while (!std::filesystem::exists(address_file(run_dir_, 1))) sleep_seconds(0.02);
            Hello hello;
            hello.world_size = 1;
            hello.host = "here";
            WorkerChannel channel(run_dir_, 1, hello, 10);
            code = channel.receive(30) ? 0 : 3;
        } catch (const CommError&) {
            code = 1;
        } catch (const std::exception&) {
        }
        ::_exit(code);
    }

    // The exit code; -1 when a signal ended it.
    int wait() {
        int status = 0;
        EXPECT_EQ(::waitpid(worker_, &status, 0), worker_);
        worker_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }

    std::filesystem::path run_dir_;
    pid_t worker_ = -1;
};

TEST_F(StoppedWorker, ThatGoesOnAfterLongerThanTheTimeoutHearsItsCoordinatorOut) {
    CoordinatorChannel coordinator(
        {.run_dir = run_dir_, .run_id = "run-a", .attempt = 1, .workers = 1, .heartbeat_timeout_seconds = kTimeout});
    ASSERT_TRUE(testing::eventually(20, [&] {
        return std::ranges::any_of(coordinator.take(), [](const Arrival& arrival) {
            return std::holds_alternative<Heartbeat>(arrival.message);
        });
    }));
    sleep_seconds(0.3);  // it has the answer
    ASSERT_EQ(::kill(worker_, SIGSTOP), 0);
    sleep_seconds(kTimeout + 1);
    ASSERT_EQ(::kill(worker_, SIGCONT), 0);
    sleep_seconds(1);  // it has looked at the clock
    coordinator.send(0, Stop{"test"});
    EXPECT_EQ(wait(), 0);
}

}  // namespace
}  // namespace kiban::coordinator
