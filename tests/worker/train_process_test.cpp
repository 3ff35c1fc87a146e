// SPDX-License-Identifier: Apache-2.0
// kiban-worker as a process: exit codes, what it reports, and that it never waits for peers it has left.
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>

#include <chrono>
#include <functional>

#include "coordinator/protocol/coordinator_channel.h"
#include "monitoring/exit_codes.h"
#include "tests/support/process.h"
#include "tests/worker/train_small_run.h"

namespace kiban::worker {
namespace {

namespace fs = std::filesystem;
using coordinator::Arrival;
using coordinator::CoordinatorChannel;
using testing::Process;

constexpr double kPatienceSeconds = 100;  // of a busy machine

class WorkerProcess : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "kiban-process-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        directory_ = name;
        run_dir_ = directory_ / "run";
        fs::create_directories(run_dir_);
    }
    void TearDown() override { fs::remove_all(directory_); }

    Process::Environment environment(int workers) const {
        return {{"KIBAN_RUN_DIR", run_dir_.string()},
                {"KIBAN_ATTEMPT", "1"},
                {"KIBAN_WORLD", std::to_string(workers)},
                {"OMP_NUM_THREADS", "1"}};
    }
    std::string program() const { return KIBAN_BIN_DIR "/kiban-worker"; }
    fs::path output() const { return directory_ / "output"; }
    // A rank of a step of one rank; mpirun's own environment is in the script.
    std::vector<std::string> step_of_one() const {
        return {KIBAN_SOURCE_DIR "/tests/support/mpirun.sh", "1", program()};
    }

    std::unique_ptr<CoordinatorChannel> coordinator(int workers, double heartbeat_timeout_seconds = 30) const {
        return std::make_unique<CoordinatorChannel>(
            coordinator::CoordinatorChannelOptions{.run_dir = run_dir_,
                                                   .run_id = "test",
                                                   .attempt = 1,
                                                   .workers = workers,
                                                   .heartbeat_timeout_seconds = heartbeat_timeout_seconds});
    }

    // Gives out the job and plays the coordinator (no save is ever granted) until `enough` says so of a message.
    void serve(CoordinatorChannel& channel, const coordinator::Job& job,
               const std::function<bool(const Arrival&)>& enough) const {
        const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(kPatienceSeconds);
        while (std::chrono::steady_clock::now() < end) {
            pollfd item{channel.descriptor(), POLLIN, 0};
            ::poll(&item, 1, 100);
            for (const Arrival& arrival : channel.take()) {
                if (std::holds_alternative<coordinator::Hello>(arrival.message)) channel.send(arrival.rank, job);
                if (const auto* request = std::get_if<coordinator::StageRequest>(&arrival.message)) {
                    channel.send_to_all(coordinator::StageReply{
                        .step = request->step, .directory = "", .error = "no room in this test"});
                }
                if (enough(arrival)) return;
            }
        }
        FAIL() << "the worker did not get that far";
    }

    fs::path directory_;
    fs::path run_dir_;
};

TEST_F(WorkerProcess, WithoutItsEnvironmentItSaysWhoStartsIt) {
    Process worker({program()}, output());
    EXPECT_EQ(worker.wait(kPatienceSeconds), kExitConfiguration);
    EXPECT_NE(
        worker.output().find("KIBAN_RUN_DIR is not set: kiban-worker is started by 'kiban pretrain', not by hand"),
        std::string::npos)
        << worker.output();
}

TEST_F(WorkerProcess, AWorldOfAnotherSizeIsRefusedBeforeAnythingIsWritten) {
    Process worker({program()}, output(), environment(2));
    EXPECT_EQ(worker.wait(kPatienceSeconds), kExitConfiguration);
    EXPECT_NE(worker.output().find("expected a world of 2 workers, found 1"), std::string::npos) << worker.output();
    EXPECT_TRUE(fs::is_empty(run_dir_));
}

TEST_F(WorkerProcess, ANumberThatIsNoneIsRefusedByName) {
    Process::Environment wrong = environment(1);
    wrong["KIBAN_ATTEMPT"] = "first";
    Process worker({program()}, output(), wrong);
    EXPECT_EQ(worker.wait(kPatienceSeconds), kExitConfiguration);
    EXPECT_NE(worker.output().find("KIBAN_ATTEMPT: expected a number of at least 1, found 'first'"), std::string::npos)
        << worker.output();
}

TEST_F(WorkerProcess, WithoutACoordinatorItAsksToBeStartedAgain) {
    Process worker(step_of_one(), output(), environment(1));
    EXPECT_EQ(worker.wait(kPatienceSeconds), kExitRequeue);
    EXPECT_NE(worker.output().find("CommError"), std::string::npos) << worker.output();
}

TEST_F(WorkerProcess, WhenTheCoordinatorIsLostItStopsAndWritesNothingMore) {
    prepare_small_corpus(directory_);
    auto channel = coordinator(1, 6);
    Process worker(step_of_one(), output(), environment(1));
    serve(*channel, small_job(directory_, 1, {"train.steps=1000000", "train.eval_interval_steps=0"}),
          [](const Arrival& arrival) {
              const auto* step = std::get_if<coordinator::StepReport>(&arrival.message);
              return step != nullptr && step->step >= 2;
          });
    channel.reset();
    EXPECT_EQ(worker.wait(kPatienceSeconds), kExitRequeue);
    EXPECT_NE(worker.output().find("CommError: the coordinator"), std::string::npos) << worker.output();
    EXPECT_FALSE(fs::exists(run_dir_ / "ckpt"));
}

TEST_F(WorkerProcess, AnErrorIsReportedWithItsStepAndBecomesTheExitCode) {
    prepare_small_corpus(directory_);
    auto channel = coordinator(1);
    Process::Environment faulty = environment(1);
    faulty["KIBAN_FAULT"] = "step.forward=eio@3";
    Process worker(step_of_one(), output(), faulty);
    coordinator::Failure failure;
    serve(*channel, small_job(directory_, 1), [&failure](const Arrival& arrival) {
        const auto* heard = std::get_if<coordinator::Failure>(&arrival.message);
        if (heard != nullptr) failure = *heard;
        return heard != nullptr;
    });
    EXPECT_EQ(failure.type, "IoError");
    EXPECT_EQ(failure.step, 3U);
    EXPECT_EQ(failure.exit_code, kExitIo);
    EXPECT_NE(failure.message.find("step.forward"), std::string::npos) << failure.message;
    EXPECT_EQ(worker.wait(kPatienceSeconds), kExitIo);
}

TEST_F(WorkerProcess, OneThatFailsEndsTheOthersThatWaitForIt) {
    prepare_small_corpus(directory_);
    auto channel = coordinator(2);
    std::vector<std::string> two = step_of_one();
    const std::vector<std::string> second = {":", "-n", "1", "env", "KIBAN_FAULT=step.reduce=eio@2", program()};
    two.insert(two.end(), second.begin(), second.end());
    Process step(two, output(), environment(2));
    int failed_rank = -1;
    serve(*channel, small_job(directory_, 2), [&failed_rank](const Arrival& arrival) {
        if (!std::holds_alternative<coordinator::Failure>(arrival.message)) return false;
        failed_rank = arrival.rank;
        return true;
    });
    EXPECT_EQ(failed_rank, 1);
    EXPECT_EQ(step.wait(kPatienceSeconds), kExitIo);
}

}  // namespace
}  // namespace kiban::worker
