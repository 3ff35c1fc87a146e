// SPDX-License-Identifier: Apache-2.0
// The main job from end to end, and what a person or a scheduler may do to it.
#include <fmt/format.h>
#include <zmq.hpp>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>

#include "checkpoint/commit.h"
#include "coordinator/launch/process_id.h"
#include "coordinator/protocol/messages.h"
#include "coordinator/protocol/wire.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "monitoring/curve.h"
#include "tests/integration/run_test.h"
#include "tests/monitoring/http.h"

namespace kiban::testing {
namespace {

class Pretrain : public RunTest {
  protected:
    // In the journal, the curve and the checkpoints.
    void expect_nothing_of_the_first_after_the_take_over(const std::string& run, int first) const {
        const auto journal = coordinator::read_journal(coordinator::RunDirectory(dir_ / run).journal());
        const auto event = [](const char* name) {
            return [name](const auto& entry) { return entry.value("event", "") == name; };
        };
        const auto taken = std::find_if(journal.begin(), journal.end(), event("taken_over"));
        ASSERT_NE(taken, journal.end());
        EXPECT_EQ(taken->at("pid").get<int>(), first);
        EXPECT_TRUE(taken->at("let_go").get<bool>());
        const auto attempt = taken->at("attempt").get<std::uint32_t>();
        for (auto entry = taken; entry != journal.end(); ++entry)
            EXPECT_GE(entry->at("attempt").get<std::uint32_t>(), attempt) << *entry;
        const auto rows = monitoring::read_curve(dir_ / run / "curve").rows;
        EXPECT_TRUE(std::ranges::is_sorted(rows, {}, &monitoring::CurveRow::attempt));
        const auto training = std::find_if(taken, journal.end(), event("training"));
        ASSERT_NE(training, journal.end());
        const auto from_step = training->at("from_step").get<std::uint64_t>();
        for (const auto& info : checkpoint::list_checkpoints(dir_ / run))
            EXPECT_TRUE(info.step <= from_step || info.attempt >= attempt) << info.directory;
    }
};

TEST_F(Pretrain, FinishesWithACheckpointACurveAndAReport) {
    const Ended ended = kiban(pretrain("run", 2));
    ASSERT_EQ(ended.exit_code, 0) << ended.output;

    std::istringstream lines(csv("run"));
    std::string line;
    std::getline(lines, line);
    EXPECT_EQ(line, "step,tokens,loss,learning_rate,grad_norm,eval_loss,eval_accuracy");
    std::vector<double> losses;
    for (std::uint64_t step = 1; std::getline(lines, line); ++step) {
        EXPECT_EQ(std::stoull(line), step);
        std::istringstream fields(line);
        std::string field;
        for (int i = 0; i < 3; ++i) std::getline(fields, field, ',');
        losses.push_back(std::stod(field));
    }
    ASSERT_EQ(losses.size(), kSteps);
    EXPECT_NEAR(losses.front(), std::log(257.0), 0.1) << "an untrained model knows nothing about 257 tokens";
    EXPECT_LT(losses.back(), 3.5) << "it has learned which bytes are frequent";

    const Ended verified = kiban({"verify", "run"});
    EXPECT_EQ(verified.exit_code, 0) << verified.output;
    EXPECT_GT(std::filesystem::file_size(dir_ / "run/report.html"), 1000u);
    EXPECT_EQ(status("run")->state, "done");
    EXPECT_EQ(status("run")->checkpoint_step, kSteps);
    EXPECT_TRUE(std::filesystem::is_empty(dir_ / "run/keys")) << "keys end with their attempt";
    EXPECT_EQ(kiban({"status", "run"}).exit_code, 0);
}

TEST_F(Pretrain, APreparationSaysWhatIsPreparedAndNotThatARunFinished) {
    for (const char* time : {"first", "second"}) {
        const Ended prepared = kiban({"prepare", "run.toml", "--run-dir", "run"});
        ASSERT_EQ(prepared.exit_code, 0) << prepared.output;
        EXPECT_EQ(status("run")->state, "prepared") << time;
        const std::string text = kiban({"status", "run"}).output;
        EXPECT_TRUE(contains(text, "prepared: the corpus is " + dir_.string())) << text;
        EXPECT_FALSE(contains(text, "\n  step ")) << text;
    }
    EXPECT_EQ(kiban(pretrain("run", 1, {"--set", "train.steps=20"})).exit_code, 0);
    EXPECT_EQ(status("run")->state, "done");
}

TEST_F(Pretrain, ARunDirectoryMayBeNamedWithQuotesAndBackslashes) {
    const std::string run = R"(a "quoted" \ 'name')";
    const Ended ended = kiban(pretrain(run, 1, {"--set", "train.steps=20"}));
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_EQ(last_step(run), 20u);
    EXPECT_EQ(kiban({"verify", run}).exit_code, 0);
}

TEST_F(Pretrain, Row30AFinishedRunSaysSoAndMoreStepsContinueIt) {
    ASSERT_EQ(kiban(pretrain("run", 1)).exit_code, 0);
    const Ended again = kiban(pretrain("run", 1));
    EXPECT_EQ(again.exit_code, 0);
    EXPECT_TRUE(contains(again.output, "the run is finished: 300 of 300 steps are done")) << again.output;
    EXPECT_EQ(journaled("run", "training"), 1u) << "no workers were started";
    const std::string status = kiban({"status", "run", "--json"}).output;
    EXPECT_TRUE(contains(status, "\"tokens\": ")) << status;
    EXPECT_FALSE(contains(status, "\"tokens\": 0")) << "status has forgotten how it ended: " << status;
    const Ended longer = kiban(pretrain("run", 1, {"--set", "train.steps=320"}));
    EXPECT_EQ(longer.exit_code, 0) << longer.output;
    EXPECT_TRUE(contains(longer.output, "resuming from step 300")) << longer.output;
    EXPECT_EQ(last_step("run"), 320u);
    EXPECT_EQ(journaled("run", "run_file_changed"), 1u);
}

TEST_F(Pretrain, ARunThatLostItsCheckpointsDoesNotStartAgainFromStepZeroUnasked) {
    const std::vector<std::string> few = {"--set", "train.steps=20"};
    ASSERT_EQ(kiban(pretrain("run", 1, few)).exit_code, 0);
    std::filesystem::rename(dir_ / "run" / "ckpt", dir_ / "elsewhere");
    const Ended refused = kiban(pretrain("run", 1, few));
    EXPECT_EQ(refused.exit_code, 74);
    EXPECT_TRUE(contains(refused.output, "its curve ends at step 20, but")) << refused.output;
    EXPECT_TRUE(contains(kiban({"status", "run"}).output, "failed")) << "the refusal is in the run's status";
    EXPECT_EQ(last_step("run"), 20u) << "the curve is as it was";
    std::filesystem::rename(dir_ / "elsewhere", dir_ / "run" / "ckpt");
    EXPECT_EQ(kiban(pretrain("run", 1, few)).exit_code, 0);
}

TEST_F(Pretrain, Row26AChangeThatForbidsAResumeIsRefusedByNameAndFreshStartsOver) {
    const std::vector<std::string> few = {"--set", "train.steps=20"};
    ASSERT_EQ(kiban(pretrain("run", 1, few)).exit_code, 0);
    const std::vector<std::string> other = {"--set", "train.steps=20", "--set", "model.d_model=64"};
    const Ended refused = kiban(pretrain("run", 1, other));
    EXPECT_EQ(refused.exit_code, 78);
    EXPECT_TRUE(contains(refused.output, "model.d_model: saved 32, now 64")) << refused.output;
    std::vector<std::string> fresh = other;
    fresh.emplace_back("--fresh");
    const Ended over = kiban(pretrain("run", 1, fresh));
    EXPECT_EQ(over.exit_code, 0) << over.output;
    EXPECT_TRUE(contains(over.output, "training from initial weights")) << over.output;
    EXPECT_EQ(last_step("run"), 20u);
}

// The commit of the last save, the second one, takes a second: long enough for another signal. Nor is the run over
// before the first one, however fast the machine: before step 60 it stands still.
class SignalledRun : public Pretrain {
  protected:
    void expect_saved_and_continued_after(int signal) {
        ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
        const std::string run = fmt::format("stopped-{}", signal);
        const auto first = start(pretrain(run, 2, {"--set", "checkpoint.interval_steps=0"}),
                                 {{"KIBAN_FAULT", "ckpt.rename=delay1@2;step.data=delay3@60"}});
        ASSERT_TRUE(wait_for_step(run, 50, *first));
        first->send(signal);
        const std::string taken = fmt::format("signal {}: saving at the next step", ::sigabbrev_np(signal));
        ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return contains(first->output(), taken) || first->ended(); }));
        ASSERT_FALSE(first->ended()) << first->output();
        for (const int again : {SIGUSR2, signal}) first->send(again);  // impatience changes nothing
        EXPECT_EQ(first->wait(kPatienceSeconds), 75) << first->output();
        EXPECT_EQ(journaled(run, "stop_requested"), 1u) << "the first one counts";
        EXPECT_EQ(status(run)->state, "stopped");
        const std::uint64_t saved = status(run)->checkpoint_step;
        EXPECT_GE(saved, 50u);
        EXPECT_EQ(saved, last_step(run)) << "what was done is saved";
        const Ended second = kiban(pretrain(run, 2, {"--set", "checkpoint.interval_steps=0"}));
        EXPECT_EQ(second.exit_code, 0) << second.output;
        EXPECT_TRUE(contains(second.output, fmt::format("resuming from step {} (exact)", saved))) << second.output;
        EXPECT_EQ(csv(run), csv("whole"));
    }
};
class SignalledRunSoak : public SignalledRun {};

TEST_F(SignalledRun, Row14TermSavesAtTheNextStepAndLeavesWith75) { expect_saved_and_continued_after(SIGTERM); }
TEST_F(SignalledRunSoak, Row14Usr1DoesToo) { expect_saved_and_continued_after(SIGUSR1); }
TEST_F(SignalledRunSoak, Row14IntDoesToo) { expect_saved_and_continued_after(SIGINT); }

TEST_F(Pretrain, Row17ALiveRunHasItsDirectoryToItself) {
    const auto first = start(pretrain("run", 1, {"--set", "train.steps=100000"}));
    ASSERT_TRUE(wait_for_step("run", 5, *first));
    const Ended second = kiban(pretrain("run", 1));
    EXPECT_EQ(second.exit_code, 78);
    EXPECT_TRUE(contains(second.output, fmt::format("in use by a live coordinator: process {}", first->id())))
        << second.output;
    first->send(SIGTERM);
    EXPECT_EQ(first->wait(kPatienceSeconds), 75) << first->output();
}

TEST_F(Pretrain, Row17ATakeOverEndsTheFirstCoordinatorAndItsWorkersAndTheCurveIsThatOfOneRun) {
    // At one rate, so that the number of steps changes none of them.
    const auto until = [](const std::string& run, std::uint64_t steps, std::vector<std::string> more = {}) {
        more.insert(more.end(), {"--set", fmt::format("train.steps={}", steps), "--set", "train.schedule.name=constant",
                                 "--set", "train.eval_interval_steps=0"});
        return pretrain(run, 2, std::move(more));
    };
    const auto first = start(until("run", 1000000));
    ASSERT_TRUE(wait_for_step("run", 50, *first));
    std::vector<coordinator::ProcessId> workers;
    for (const int rank : {0, 1}) {
        ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return worker_process("run", rank) != 0 || first->ended(); }));
        const auto worker = coordinator::find_process(worker_process("run", rank), "kiban-worker");
        ASSERT_TRUE(worker) << first->output();
        workers.push_back(*worker);
    }
    const auto second = start(until("run", 1000000, {"--take-over"}));
    EXPECT_EQ(first->wait(kPatienceSeconds), 75) << first->output();
    EXPECT_TRUE(contains(first->output(), fmt::format("another coordinator (process {} on host '", second->id())))
        << first->output();
    for (const coordinator::ProcessId& worker : workers)
        EXPECT_TRUE(eventually(30, [&] { return !coordinator::is_alive(worker); })) << "process " << worker.pid;
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return journaled("run", "training") == 2 || second->ended(); }));
    ASSERT_TRUE(wait_for_step("run", last_step("run") + 20, *second));
    second->send(SIGTERM);
    EXPECT_EQ(second->wait(kPatienceSeconds), 75) << second->output();
    expect_nothing_of_the_first_after_the_take_over("run", first->id());

    const std::uint64_t saved = status("run")->checkpoint_step;
    const Ended third = kiban(until("run", saved + 20));
    EXPECT_EQ(third.exit_code, 0) << third.output;
    EXPECT_TRUE(contains(third.output, fmt::format("resuming from step {} (exact)", saved))) << third.output;
    ASSERT_EQ(kiban(until("whole", saved + 20)).exit_code, 0);
    EXPECT_EQ(csv("run"), csv("whole"));
}

TEST_F(Pretrain, AStrangerWithoutTheKeyCanNeitherJoinNorListen) {
    const auto run = start(pretrain("run", 1, {"--set", "train.steps=100000"}));
    ASSERT_TRUE(wait_for_step("run", 5, *run));
    const auto address = coordinator::read_address(dir_ / "run", status("run")->attempt);
    const coordinator::KeyPair keys = coordinator::make_key_pair();
    zmq::context_t context;
    zmq::socket_t socket(context, zmq::socket_type::dealer);
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::routing_id, "worker-0");
    socket.set(zmq::sockopt::curve_serverkey, address.server_key);
    socket.set(zmq::sockopt::curve_publickey, keys.public_key);
    socket.set(zmq::sockopt::curve_secretkey, keys.secret_key);
    socket.connect(fmt::format("tcp://127.0.0.1:{}", address.port));
    const auto lie = coordinator::to_json(coordinator::WorkerMessage(coordinator::Failure{"DataError", "lies", 1, 65}));
    socket.send(zmq::buffer(coordinator::seal(address.run_id, address.attempt, lie)), zmq::send_flags::none);
    zmq::pollitem_t item{socket.handle(), 0, ZMQ_POLLIN, 0};
    zmq::poll(&item, 1, std::chrono::seconds(2));
    EXPECT_EQ(item.revents & ZMQ_POLLIN, 0) << "it heard something";
    const std::uint64_t step = last_step("run");
    EXPECT_TRUE(wait_for_step("run", step + 10, *run)) << "training goes on";
    run->send(SIGTERM);
    EXPECT_EQ(run->wait(kPatienceSeconds), 75);
    EXPECT_TRUE(contains(run->output(), "it does not hold this attempt's key")) << run->output();
}

class PretrainSoak : public Pretrain {};

// In the suite scraped_run.py asks more of one.
TEST_F(PretrainSoak, ARealPrometheusScrapesALiveRun) {
    const auto run = start(pretrain("run", 2, {"--set", "train.steps=100000"}));
    ASSERT_TRUE(wait_for_step("run", 5, *run));
    const std::string address = status("run")->metrics;  // http://127.0.0.1:PORT/metrics
    const std::string target = address.substr(7, address.rfind('/') - 7);
    std::ofstream(dir_ / "prometheus.yml")
        << "global:\n  scrape_interval: 200ms\nscrape_configs:\n  - job_name: kiban\n"
        << "    static_configs:\n      - targets: ['" << target << "']\n";
    const int port = monitoring::free_port();
    Process prometheus({"prometheus", "--config.file=" + (dir_ / "prometheus.yml").string(),
                        "--storage.tsdb.path=" + (dir_ / "tsdb").string(),
                        fmt::format("--web.listen-address=127.0.0.1:{}", port), "--log.level=warn"},
                       dir_ / "prometheus.log");
    const auto answer = [port](const std::string& query) {
        return monitoring::body_of(monitoring::http_get(port, "/api/v1/query?query=" + query));
    };
    const std::string loss = "rate(kiban_train_loss_nats_total[1m])/rate(kiban_train_loss_tokens_total[1m])";
    EXPECT_TRUE(eventually(60, [&] { return contains(answer("(" + loss + ")%3E0"), "\"run\":\"small\""); }))
        << answer(loss) << prometheus.output();
    EXPECT_TRUE(contains(answer("kiban_worker_up"), "\"rank\":\"0\"")) << answer("kiban_worker_up");
    const std::string gathered = "rate(kiban_comm_bytes_total{axis='data',operation='all_gather'}[1m])%3E0";
    EXPECT_TRUE(eventually(60, [&] { return contains(answer(gathered), "\"run\":\"small\""); })) << answer(gathered);
    run->send(SIGTERM);
    EXPECT_EQ(run->wait(kPatienceSeconds), 75);
}

TEST_F(Pretrain, GeneratedTextIsTheSameForTheSameSeed) {
    ASSERT_EQ(kiban(pretrain("run", 1)).exit_code, 0);
    const std::vector<std::string> words = {"generate",     "run", "--prompt", "The license",
                                            "--max-tokens", "20",  "--seed",   "7"};
    const Ended first = kiban_reading("run", words);
    EXPECT_EQ(first.exit_code, 0) << first.output;
    EXPECT_GT(first.output.size(), 10u);
    EXPECT_EQ(kiban(words).output, first.output);
    std::vector<std::string> other = words;
    other.back() = "8";
    EXPECT_NE(kiban(other).output, first.output);

    std::vector<std::string> likeliest = words;
    likeliest.insert(likeliest.end() - 2, {"--top-k", "1"});
    const Ended greedy = kiban(likeliest);
    EXPECT_EQ(greedy.exit_code, 0) << greedy.output;
    likeliest.back() = "8";
    EXPECT_EQ(kiban(likeliest).output, greedy.output) << "among one token the seed has nothing to choose";
}

}  // namespace
}  // namespace kiban::testing
