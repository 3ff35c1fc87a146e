// SPDX-License-Identifier: Apache-2.0
// Rows of the fault matrix (coordinator/SURVIVAL.md) that have no file of their own.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <functional>

#include "checkpoint/commit.h"
#include "coordinator/protocol/whereabouts.h"
#include "coordinator/run/run_directory.h"
#include "monitoring/file.h"
#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

// A disk of 64 KiB, full from the first byte on.
class FullDisk {
  public:
    explicit FullDisk(const std::filesystem::path& at) : at_(at) {
        std::filesystem::create_directories(at);
        EXPECT_EQ(::mount("tmpfs", at.c_str(), "tmpfs", 0, "size=64k"), 0) << "needs root";
        std::ofstream filler(at / "filler");
        filler << std::string(1 << 20, 'x') << std::flush;
        EXPECT_FALSE(filler);
    }
    ~FullDisk() { ::umount2(at_.c_str(), MNT_DETACH); }
    FullDisk(const FullDisk&) = delete;
    FullDisk& operator=(const FullDisk&) = delete;

  private:
    std::filesystem::path at_;
};

class FaultMatrix : public RunTest {
  protected:
    // Once the first is taken, another one comes, and the same again (the kernel merges those that wait): impatience
    // changes nothing.
    int stopped_by(int signal, Process& run, const std::string& answer = "saving at the next step") {
        run.send(signal);
        const std::string taken = fmt::format("signal {}: {}", ::sigabbrev_np(signal), answer);
        EXPECT_TRUE(eventually(kPatienceSeconds, [&] { return contains(run.output(), taken) || run.ended(); }));
        EXPECT_TRUE(contains(run.output(), taken)) << run.output();
        for (const int again : {signal == SIGTERM ? SIGUSR1 : SIGTERM, signal}) run.send(again);
        return run.wait(kPatienceSeconds);
    }
    // Where the logs of the next attempt of a run that has ended will be.
    std::filesystem::path next_logs(const std::string& run) const {
        return coordinator::RunDirectory(dir_ / run).logs(status(run)->attempt + 1);
    }
    // Whether worker 0 of the attempt with these logs is in this phase.
    static bool is_in(const std::filesystem::path& logs, const std::string& phase) {
        const auto there = coordinator::read_whereabouts(coordinator::whereabouts_file(logs, 0));
        return there && there->phase == phase;
    }
    void expect_one_save(const std::string& run, const std::string& when) {
        EXPECT_EQ(status(run)->state, "stopped") << when;
        EXPECT_EQ(checkpoint::newest_checkpoint(dir_ / run)->step, last_step(run))
            << when << ": what was done is saved";
        EXPECT_TRUE(monitoring::names_in(dir_ / run / "ckpt" / ".staging").empty()) << when;
    }
    bool wait_for(Process& run, const std::function<bool()>& condition) const {
        return eventually(kPatienceSeconds, [&] { return condition() || run.ended(); }) && !run.ended();
    }
};

TEST_F(FaultMatrix, Row14SignalsDuringASaveALoadAndAnEvaluationLeaveOneCoherentSave) {
    const std::vector<std::string> often = {"--set", "train.eval_interval_steps=150",
                                            "--set", "train.eval_micro_batch_rows=1",
                                            "--set", "data.holdout.fraction=0.6"};
    ASSERT_EQ(kiban(pretrain("whole", 2, often)).exit_code, 0);
    std::vector<std::string> slow = often;
    slow.insert(slow.end(), {"--set", "checkpoint.max_mib_per_second=0.05"});
    {
        const auto run = start(pretrain("run", 2, slow), standing_still_before({60}));
        ASSERT_TRUE(wait_for(*run, [&] {
            const auto now = status("run");
            return now && now->checkpoint_queued && now->checkpoint_queued_step == 40;
        })) << run->output();
        EXPECT_EQ(stopped_by(SIGUSR2, *run), 75) << run->output();
        expect_one_save("run", "during a save");
    }
    {
        const std::uint64_t before = checkpoint::newest_checkpoint(dir_ / "run")->step;
        const auto logs = next_logs("run");
        const auto run = start(pretrain("run", 2, often), {{"KIBAN_FAULT", "load.read=delay3"}});
        ASSERT_TRUE(wait_for(*run, [&] { return is_in(logs, "loading"); })) << run->output();
        EXPECT_EQ(stopped_by(SIGUSR1, *run, "leaving"), 75) << run->output();
        EXPECT_EQ(status("run")->state, "stopped");
        EXPECT_EQ(checkpoint::newest_checkpoint(dir_ / "run")->step, before) << "there is nothing new to save";
        EXPECT_EQ(kiban({"verify", "run"}).exit_code, 0);
    }
    {
        const auto logs = next_logs("run");
        const auto run = start(pretrain("run", 2, often), {{"KIBAN_FAULT", "step.evaluate=delay2"}});
        ASSERT_TRUE(wait_for(*run, [&] { return is_in(logs, "evaluate"); })) << run->output();
        EXPECT_EQ(stopped_by(SIGTERM, *run), 75) << run->output();
        expect_one_save("run", "during an evaluation");
    }
    EXPECT_EQ(kiban(pretrain("run", 2, often)).exit_code, 0);
    EXPECT_EQ(csv("run"), csv("whole"));
}

TEST_F(FaultMatrix, Row18ALauncherThatStartsSingletonsIsRefusedBeforeAnythingIsWritten) {
    ASSERT_EQ(kiban({"prepare", "run.toml", "--run-dir", "run", "--workers", "2"}).exit_code, 0);
    std::filesystem::create_directory(dir_ / "wrong");
    const auto launcher = dir_ / "wrong" / "mpirun";  // knows nothing of the MPI library: each worker is alone
    std::ofstream(launcher) << "#!/bin/bash\nwhile [ \"$1\" != -n ]; do shift; done\ncount=$2\nshift 2\n"
                            << "for i in $(seq \"$count\"); do \"$@\" & done\nwait -n\n";
    std::filesystem::permissions(launcher, std::filesystem::perms::owner_all);
    const Ended ended =
        kiban(pretrain("run", 2), {{"PATH", fmt::format("{}/wrong:{}", dir_.string(), ::getenv("PATH"))}});
    EXPECT_EQ(ended.exit_code, 78) << ended.output;
    EXPECT_TRUE(contains(ended.output, "expected a world of 2 workers, found 1") ||
                contains(ended.output, "says the world has 1 workers, expected 2"))
        << ended.output;
    EXPECT_EQ(last_step("run"), 0u);
    EXPECT_FALSE(checkpoint::newest_checkpoint(dir_ / "run"));
}

TEST_F(FaultMatrix, Row26AnotherModelTokenizerOrCorpusIsRefusedNamingIt) {
    const auto run = [](std::vector<std::string> more) {
        more.insert(more.end(), {"--set", "train.steps=20"});
        return pretrain("run", 1, std::move(more));
    };
    ASSERT_EQ(kiban(run({})).exit_code, 0);
    const std::string before = csv("run");
    const Ended model = kiban(run({"--set", "model.heads=4"}));
    EXPECT_EQ(model.exit_code, 78);
    EXPECT_TRUE(contains(model.output, "model.heads: saved 2, now 4")) << model.output;
    const Ended tokenizer = kiban(run({"--set", "data.tokenizer=bpe:300"}));
    EXPECT_EQ(tokenizer.exit_code, 78);
    EXPECT_TRUE(contains(tokenizer.output, "data.tokenizer: saved ") && contains(tokenizer.output, "bpe:300"))
        << tokenizer.output;
    std::ofstream(dir_ / "text.txt", std::ios::app) << "one more line\n";
    const Ended corpus = kiban(run({}));
    EXPECT_EQ(corpus.exit_code, 78);
    EXPECT_TRUE(contains(corpus.output, "the corpus has changed (manifest digest: saved ")) << corpus.output;
    EXPECT_TRUE(contains(corpus.output, "its first sources are not those that the run was trained on"))
        << corpus.output;
    EXPECT_EQ(csv("run"), before);
}

// Connections that are opened and never served, and a disk for logs that is full from the first line on.
TEST_F(FaultMatrix, Row28AnEndpointThatIsHeldUpAndLogsThatFindNoRoomDoNotTouchTheTraining) {
    ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
    const FullDisk logs(dir_ / "run" / "logs");
    const auto run = start(pretrain("run", 2), standing_still_before({10}));
    ASSERT_TRUE(wait_for_step("run", 5, *run));
    const std::string address = status("run")->metrics;  // http://127.0.0.1:PORT/metrics
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::vector<int> sockets;
    for (int i = 0; i < 200; ++i) {
        const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        ::connect(socket, reinterpret_cast<const sockaddr*>(&to), sizeof to);
        [[maybe_unused]] const auto sent = ::send(socket, "GET /metrics HTTP/1.1\r\n", 23, MSG_NOSIGNAL);
        sockets.push_back(socket);
    }
    EXPECT_EQ(run->wait(kPatienceSeconds), 0) << run->output();
    for (const int socket : sockets) ::close(socket);
    EXPECT_EQ(journaled("run", "attempt_started"), 1u) << "nothing was started again";
    EXPECT_EQ(csv("run"), csv("whole"));
}

TEST_F(FaultMatrix, Row30AResumeAtStepZeroAtTheEndOfAnEpochAndAfterTheEndGoesOnAsIfNothingHadHappened) {
    // 32 bytes a row, the end of the text among them: 128 rows, so 4 batches are one epoch.
    {
        std::string text = monitoring::read_text(dir_ / "text.txt").substr(0, 128 * 32 - 1);
        std::ofstream(dir_ / "text.txt", std::ios::binary) << text;
    }
    const auto until = [](const std::string& run, int steps) {
        return pretrain(run, 2,
                        {"--set", fmt::format("train.steps={}", steps), "--set", "train.schedule.name=constant",
                         "--set", "train.schedule.warmup_steps=0", "--set", "data.holdout.fraction=0", "--set",
                         "train.eval_interval_steps=0", "--set", "checkpoint.interval_steps=1"});
    };
    ASSERT_EQ(kiban(until("whole", 12)).exit_code, 0);
    const auto marker = dir_ / "was";
    const Ended at_zero = kiban(until("run", 4), {{"KIBAN_FAULT", "step.forward=kill"}, {"KIBAN_FAULT_ONCE", marker}});
    EXPECT_EQ(at_zero.exit_code, 0) << at_zero.output;
    EXPECT_TRUE(contains(at_zero.output, "resuming from step 0 (exact)")) << at_zero.output;
    const Ended next_epoch = kiban(until("run", 12));
    EXPECT_EQ(next_epoch.exit_code, 0) << next_epoch.output;
    EXPECT_TRUE(contains(next_epoch.output, "resuming from step 4 (exact)")) << next_epoch.output;
    const std::size_t attempts = journaled("run", "attempt_started");
    const Ended again = kiban(until("run", 12));
    EXPECT_EQ(again.exit_code, 0);
    EXPECT_TRUE(contains(again.output, "the run is finished: 12 of 12 steps are done")) << again.output;
    EXPECT_EQ(journaled("run", "attempt_started"), attempts) << "no workers were started";
    EXPECT_EQ(csv("run"), csv("whole"));
}

}  // namespace
}  // namespace kiban::testing
