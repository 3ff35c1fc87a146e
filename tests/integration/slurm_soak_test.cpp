// SPDX-License-Identifier: Apache-2.0
// The batch scripts of slurm/ on a real Slurm: time limit, preemption, node failure and chains. After each the curve is
// that of a run that nobody disturbed. Arrays: slurm_array_soak_test.cpp.
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <optional>
#include <sstream>

#include "coordinator/launch/process_id.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "monitoring/curve.h"
#include "monitoring/file.h"
#include "tests/integration/slurm_cluster.h"
#include "tests/monitoring/http.h"

namespace kiban::testing {
namespace {

class SlurmSoak : public SlurmCluster {
  protected:
    static constexpr std::uint64_t kLongRun = 2500;   // steps: long enough for what happens to it soon after its begin
    static constexpr std::uint64_t kNever = 1000000;  // steps: more than any run here has

    // As the run file says, but as long as the test needs; `whole` is the run that nobody disturbs.
    std::vector<std::string> settings(std::uint64_t steps) const {
        return {"--set", fmt::format("train.steps={}", steps),
                "--set", "train.eval_interval_steps=0",
                "--set", fmt::format("checkpoint.interval_steps={}", interval_steps_)};
    }
    std::uint64_t steps_of(double seconds) {
        const auto began = std::chrono::steady_clock::now();
        EXPECT_EQ(kiban(pretrain("measured", 2, settings(1000))).exit_code, 0);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
        return std::max<std::uint64_t>(1500, static_cast<std::uint64_t>(1000 * seconds / took.count()));
    }
    std::string submit(const std::string& script, std::vector<std::string> options, std::uint64_t steps,
                       const std::vector<std::string>& more = {}) {
        std::vector<std::string> arguments = {"run.toml", "--run-dir", "run"};
        for (const std::string& word : settings(steps)) arguments.push_back(word);
        arguments.insert(arguments.end(), more.begin(), more.end());
        options.insert(options.end(), {"--ntasks=2", "--cpus-per-task=1", "--output=job.out"});
        return sbatch(options, script, arguments);
    }
    // Two workers on the two nodes of a job that outlives them (spare_nodes.sbatch).
    std::string submit_spare(std::vector<std::string> options, std::uint64_t steps,
                             std::vector<std::string> more = {}) {
        std::vector<std::string> arguments = {"run.toml", "--run-dir", "run"};
        for (const std::string& word : settings(steps)) arguments.push_back(word);
        arguments.insert(arguments.end(), more.begin(), more.end());
        options.insert(options.end(), {"--time=30", "--nodes=2", "--cpus-per-task=1", "--output=job.out",
                                       "--export=ALL,INTERFACE=127.0.0.1,WORKERS=2"});
        return sbatch(options, "spare_nodes.sbatch", arguments);
    }
    std::string other_node(const std::string& job) { return field_of(job, "BatchHost") == "n1" ? "n2" : "n1"; }
    // It comes back by itself, as idle.
    void fail_node(const std::string& node) {
        ASSERT_FALSE(node.empty());
        ASSERT_EQ(command_of({"scontrol", "update", "nodename=" + node, "state=down", "reason=test"}, environment())
                      .exit_code,
                  0);
    }
    // In the run file itself, where there is no way to name them otherwise.
    void write_steps(std::uint64_t steps) {
        std::string text = text_of(dir_ / "run.toml");
        const auto change = [&text](const std::string& from, const std::string& to) {
            ASSERT_NE(text.find(from), std::string::npos) << text;
            text.replace(text.find(from), from.size(), to);
        };
        change("\nsteps = 300", fmt::format("\nsteps = {}", steps));
        change("eval_interval_steps = 100", "eval_interval_steps = 0");
        change("\ninterval_steps = 40", fmt::format("\ninterval_steps = {}", interval_steps_));
        std::ofstream(dir_ / "run.toml") << text;
    }
    std::string job_log() const { return text_of(dir_ / "job.out"); }
    // Of the run's loss, as Prometheus is served it there: name and labels. Empty where nobody serves it.
    static std::string loss_series(int port) {
        const std::string text = monitoring::body_of(monitoring::http_get(port, "/metrics"));
        const auto at = text.find("\nkiban_train_loss_nats_total{");
        return at == std::string::npos ? "" : text.substr(at + 1, text.find('}', at) - at);
    }
    // A start that did not save what it had done would have the next one do it again, and that is on record.
    void expect_each_start_went_on_where_the_one_before_it_left_off() const {
        std::size_t saves = 0;
        std::size_t trainings = 0;
        for (const auto& entry : coordinator::read_journal(coordinator::RunDirectory(dir_ / "run").journal())) {
            if (entry.value("event", "") == "checkpoint") ++saves;
            if (entry.value("event", "") != "training") continue;
            EXPECT_EQ(entry.at("from_step") == 0, trainings++ == 0) << entry << "\n" << job_log();
        }
        EXPECT_EQ(saves, trainings + 1) << "that of step 0, and one as each leaves\n" << job_log();
        EXPECT_EQ(monitoring::read_curve(dir_ / "run" / "curve").superseded_rows, 0U) << job_log();
    }
    void expect_whole(const std::string& job, std::uint64_t steps) {
        ASSERT_TRUE(ends(job)) << state_of(job) << "\n" << job_log();
        EXPECT_EQ(state_of(job), "COMPLETED") << job_log();
        EXPECT_GE(journaled("run", "coordinator_started"), 2U) << "nothing disturbed it\n" << job_log();
        ASSERT_EQ(kiban(pretrain("whole", 2, settings(steps))).exit_code, 0);
        EXPECT_EQ(csv("run"), csv("whole")) << job_log();
    }

    std::uint64_t interval_steps_ = 40;  // between periodic saves
};

TEST_F(SlurmSoak, ATimeLimitSavesJustInTimeAndTheRequeuedJobGoesOnWithTheSameSeries) {
    interval_steps_ = kNever;
    const std::uint64_t steps = steps_of(150);
    const int port = monitoring::free_port();
    const std::string job = submit("single_node.sbatch", {"--time=1", "--signal=B:USR1@10"}, steps,
                                   {"--set", fmt::format("monitoring.listen=127.0.0.1:{}", port)});
    std::string series;
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] {
        if (last_step("run") >= 60) series = loss_series(port);
        return !series.empty();
    })) << job_log();
    EXPECT_TRUE(contains(series, "run=\"small\"")) << series;
    const std::string targets = text_of(dir_ / "run" / "targets.json");
    EXPECT_TRUE(contains(targets, fmt::format("127.0.0.1:{}", port))) << targets;
    const std::size_t trainings = journaled("run", "training");
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return journaled("run", "training") > trainings; })) << job_log();
    EXPECT_TRUE(eventually(10, [&] { return loss_series(port) == series; })) << loss_series(port) << "\n" << series;
    EXPECT_EQ(text_of(dir_ / "run" / "targets.json"), targets);
    expect_whole(job, steps);
    expect_each_start_went_on_where_the_one_before_it_left_off();
    EXPECT_NE(field_of(job, "Restarts"), "0");
    EXPECT_TRUE(contains(job_log(), "asking Slurm to start job " + job + " again")) << job_log();
}

TEST_F(SlurmSoak, Row16APreemptedRunIsRequeuedAndGoesOn) {
    const std::uint64_t steps = steps_of(40);
    const std::string job = submit("preemptible.sbatch", {"--time=30"}, steps);
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return last_step("run") >= 60; })) << job_log();
    const std::string urgent =
        sbatch({"--partition=high", "--nodes=2", "--ntasks=2", "--exclusive", "--wrap", "sleep 2"}, "", {});
    ASSERT_TRUE(ends(urgent));
    expect_whole(job, steps);
    EXPECT_NE(field_of(job, "Restarts"), "0");
}

TEST_F(SlurmSoak, Row22ARunWhoseBatchHostFailsIsRequeuedAndGoesOnOnAnother) {
    const std::uint64_t steps = kLongRun;
    const std::string job = submit("single_node.sbatch", {"--time=30"}, steps);
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return last_step("run") >= 60; })) << job_log();
    const std::string node = field_of(job, "BatchHost");
    ASSERT_FALSE(node.empty());
    ASSERT_EQ(
        command_of({"scontrol", "update", "nodename=" + node, "state=drain", "reason=test"}, environment()).exit_code,
        0);
    ASSERT_EQ(
        command_of({"scontrol", "update", "nodename=" + node, "state=down", "reason=test"}, environment()).exit_code,
        0);
    expect_whole(job, steps);
    EXPECT_NE(field_of(job, "BatchHost"), node);
}

// Slurm leaves the other node to the job, and the coordinator leaves out the failed one: no queue, no other job.
TEST_F(SlurmSoak, Row22ANodeThatFailsUnderNoKillIsLeftOutAndTheRunGoesOnInTheSameJob) {
    const std::uint64_t steps = kLongRun;
    const std::string job = submit_spare({"--ntasks=2", "--exclusive"}, steps);
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return last_step("run") >= 60; })) << job_log();
    fail_node(other_node(job));
    ASSERT_TRUE(ends(job)) << job_log();
    EXPECT_EQ(state_of(job), "COMPLETED") << job_log();
    EXPECT_EQ(field_of(job, "Restarts"), "0");
    EXPECT_EQ(journaled("run", "coordinator_started"), 1U);
    EXPECT_TRUE(contains(job_log(), "is lost: going on without it")) << job_log();
    ASSERT_EQ(kiban(pretrain("whole", 2, settings(steps))).exit_code, 0);
    EXPECT_EQ(csv("run"), csv("whole")) << job_log();
}

TEST_F(SlurmSoak, Row22WithoutASpareNodeARunUnderNoKillGoesOnWithFewerWorkersWhereItMay) {
    const std::uint64_t steps = kLongRun;
    const std::vector<std::string> fixed = {"--set", "train.reduction=fixed", "--set", "supervise.min_workers=1"};
    const std::string job = submit_spare({"--ntasks-per-node=1"}, steps, fixed);
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return last_step("run") >= 60; })) << job_log();
    fail_node(other_node(job));
    ASSERT_TRUE(ends(job)) << job_log();
    EXPECT_EQ(state_of(job), "COMPLETED") << job_log();
    EXPECT_EQ(field_of(job, "Restarts"), "0");
    EXPECT_EQ(journaled("run", "workers_changed"), 1U) << job_log();
    std::vector<std::string> same = settings(steps);
    same.insert(same.end(), fixed.begin(), fixed.end());
    ASSERT_EQ(kiban(pretrain("whole", 2, same)).exit_code, 0);
    EXPECT_EQ(csv("run"), csv("whole")) << "in the fixed order one worker sums as two do\n" << job_log();
}

TEST_F(SlurmSoak, Row22WithoutRoomARunUnderNoKillPutsItsJobBackIntoTheQueue) {
    const std::uint64_t steps = kLongRun;
    const std::string job = submit_spare({"--ntasks-per-node=1"}, steps);
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return last_step("run") >= 60; })) << job_log();
    fail_node(other_node(job));
    expect_whole(job, steps);
    EXPECT_EQ(field_of(job, "Restarts"), "1");
    EXPECT_TRUE(contains(job_log(), "the others have no room: back into the queue")) << job_log();
}

// An administrator sets its node down: Slurm takes the job for failed, and the next one of the chain goes on.
TEST_F(SlurmSoak, Row22TheLossOfTheBatchHostUnderNoKillIsTakenUpByTheNextJobOfAChain) {
    const std::uint64_t steps = kLongRun;
    write_steps(steps);
    auto with_script = environment();
    with_script["SCRIPT"] = "spare_nodes.sbatch";
    const Ended chain = command_of(
        {KIBAN_SOURCE_DIR "/slurm/dependency_chain.sh", "2", "run.toml", "--time=30", "--nodes=2", "--ntasks=2",
         "--exclusive", "--cpus-per-task=1", "--output=job.out", "--export=ALL,INTERFACE=127.0.0.1,WORKERS=2"},
        with_script);
    ASSERT_EQ(chain.exit_code, 0) << chain.output;
    const std::string first = first_line(chain.output);
    const std::string second = first_line(chain.output.substr(first.size() + 1));
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return last_step("run") >= 60; })) << job_log();
    fail_node(field_of(first, "BatchHost"));
    ASSERT_TRUE(ends(first)) << job_log();
    EXPECT_EQ(state_of(first), "FAILED") << job_log();
    ASSERT_TRUE(ends(second)) << job_log();
    EXPECT_EQ(state_of(second), "COMPLETED") << job_log();
    ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
    EXPECT_EQ(csv("run"), csv("whole")) << job_log();
}

class SlurmSoakOfThree : public SlurmSoak {
  protected:
    SlurmSoakOfThree() { nodes_ = 3; }
    // Everything on the node is gone at once: its daemons, and what they had started. Nobody is to tell of another:
    // first go those that report to Slurm, then the youngest, so that srun's child, which cancels its step, goes before
    // srun.
    void kill_node(const std::string& node) {
        std::string daemon = text_of(dir_ / "slurm/run" / fmt::format("slurmd.{}.pid", node));
        daemon = first_line(daemon);
        ASSERT_FALSE(daemon.empty());
        const auto host = std::filesystem::read_symlink("/proc/" + daemon + "/ns/uts");
        std::vector<std::pair<bool, int>> processes;  // of Slurm's daemons, number
        for (const std::string& name : monitoring::names_in("/proc")) {
            if (name.find_first_not_of("0123456789") != std::string::npos) continue;
            std::error_code gone;
            if (std::filesystem::read_symlink("/proc/" + name + "/ns/uts", gone) != host || gone) continue;
            processes.emplace_back(first_line(text_of("/proc/" + name + "/comm")).starts_with("slurm"),
                                   std::stoi(name));
        }
        std::ranges::sort(processes, std::greater<>());
        for (const auto& [of_slurm, process] : processes) ::kill(process, SIGKILL);
    }
};

// Slurm leaves such a job running without anybody in it: a watcher on the other node puts it back into the queue.
TEST_F(SlurmSoakOfThree, Row22ABatchHostThatDiesUnderNoKillIsNoticedByTheOtherNodesAndTheJobGoesOnElsewhere) {
    const std::uint64_t steps = kLongRun;
    const std::string job = submit_spare({"--ntasks=2", "--exclusive"}, steps);
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return last_step("run") >= 60; })) << job_log();
    const std::string host = field_of(job, "BatchHost");
    kill_node(host);
    expect_whole(job, steps);
    EXPECT_EQ(field_of(job, "Restarts"), "1");
    EXPECT_NE(field_of(job, "BatchHost"), host);
}

TEST_F(SlurmSoak, Row16AJobThatIsRequeuedTwiceIsOneRunWithOneLogAndOneCurve) {
    const std::uint64_t steps = kLongRun;
    const std::string job = submit("single_node.sbatch", {"--time=30"}, steps);
    for (const char* restarts : {"1", "2"}) {
        const std::uint64_t before = last_step("run");
        ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return last_step("run") >= before + 60; })) << job_log();
        ASSERT_EQ(command_of({"scontrol", "requeue", job}, environment()).exit_code, 0);
        ASSERT_TRUE(eventually(kPatienceSeconds, [&] {
            return field_of(job, "Restarts") == restarts && state_of(job) == "RUNNING";
        })) << job_log();
    }
    expect_whole(job, steps);
    EXPECT_EQ(journaled("run", "coordinator_started"), 3U);
    const std::string log = job_log();
    std::size_t starts = 0;
    for (std::size_t at = log.find("run 'small' in "); at != std::string::npos;
         at = log.find("run 'small' in ", at + 1))
        ++starts;
    EXPECT_EQ(starts, 3U) << "the log is appended to\n" << log;
}

TEST_F(SlurmSoak, AChainOfShortJobsIsOneLongRun) {
    interval_steps_ = kNever;
    const std::uint64_t steps = steps_of(70);
    write_steps(steps);
    const Ended chain = command_of({KIBAN_SOURCE_DIR "/slurm/dependency_chain.sh", "4", "run.toml", "--time=1",
                                    "--ntasks=2", "--cpus-per-task=1", "--open-mode=append", "--output=job.out"},
                                   environment());
    ASSERT_EQ(chain.exit_code, 0) << chain.output;
    std::vector<std::string> jobs;
    std::istringstream ids(chain.output);
    for (std::string id; std::getline(ids, id);) jobs.push_back(id);
    ASSERT_EQ(jobs.size(), 4U);
    for (const std::string& job : jobs) ASSERT_TRUE(ends(job)) << job_log();
    EXPECT_EQ(state_of(jobs.front()), "FAILED") << "out of time is exit code 75\n" << job_log();
    EXPECT_EQ(field_of(jobs.front(), "ExitCode"), "75:0");
    EXPECT_EQ(state_of(jobs.back()), "COMPLETED") << job_log();
    EXPECT_GE(journaled("run", "coordinator_started"), 3U);
    expect_each_start_went_on_where_the_one_before_it_left_off();
    ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
    EXPECT_EQ(csv("run"), csv("whole")) << job_log();
}

// Its ranks are children of Slurm's daemons, and one of them is on a node on which the coordinator can kill nobody.
TEST_F(SlurmSoak, Row03AKilledSrunOfTwoNodesLeavesNoRankBehindAndTheCurveAsItWouldHaveBeen) {
    std::vector<std::string> arguments = {"run.toml", "--run-dir", "run"};
    for (const std::string& word : settings(kLongRun)) arguments.push_back(word);
    const std::string job = sbatch({"--time=10", "--nodes=2", "--export=ALL,INTERFACE=127.0.0.1", "--output=job.out"},
                                   "many_nodes.sbatch", arguments);
    std::optional<coordinator::RunStatus> before;
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] {
        if (last_step("run") >= 60) before = status("run");
        return before && before->workers.size() == 2;
    })) << job_log();
    std::vector<coordinator::ProcessId> beside_coordinator;
    std::vector<coordinator::ProcessId> elsewhere;
    for (const auto& worker : before->workers) {
        const auto rank = coordinator::find_process(worker.pid, "kiban-worker");
        ASSERT_TRUE(rank) << job_log();
        (worker.host == before->host ? beside_coordinator : elsewhere).push_back(*rank);
    }
    ASSERT_EQ(beside_coordinator.size(), 1U) << job_log();
    const int srun = launcher_of(before->pid);
    ASSERT_NE(srun, 0) << job_log();
    const std::size_t trainings = journaled("run", "training");
    ASSERT_EQ(::kill(srun, SIGKILL), 0);
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return journaled("run", "training") > trainings; })) << job_log();
    EXPECT_TRUE(std::ranges::none_of(beside_coordinator, coordinator::is_alive)) << "beside its successor";
    EXPECT_TRUE(eventually(kPatienceSeconds, [&] { return std::ranges::none_of(elsewhere, coordinator::is_alive); }))
        << "it ends by itself";
    ASSERT_TRUE(ends(job)) << job_log();
    EXPECT_EQ(state_of(job), "COMPLETED") << job_log();
    EXPECT_EQ(journaled("run", "attempt_ended"), 3U) << "preparation, the one killed, the last\n" << job_log();
    ASSERT_EQ(kiban(pretrain("whole", 2, settings(kLongRun))).exit_code, 0);
    EXPECT_EQ(csv("run"), csv("whole")) << job_log();
}

TEST_F(SlurmSoak, ACancelledJobSavesWhereTheBatchScriptAloneIsToldAndGoesOnFromTheNewestCheckpointElse) {
    const auto run_and_cancel = [&](const std::vector<std::string>& how) {
        const std::uint64_t before = last_step("run");
        const std::string job = submit("single_node.sbatch", {"--time=30"}, kLongRun);
        ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return last_step("run") >= before + 60; })) << job_log();
        std::vector<std::string> words = {"scancel", job};
        words.insert(words.end(), how.begin(), how.end());
        ASSERT_EQ(command_of(words, environment()).exit_code, 0);
        ASSERT_TRUE(ends(job)) << job_log();
    };
    interval_steps_ = kNever;
    run_and_cancel({"--batch", "--signal=TERM"});
    expect_each_start_went_on_where_the_one_before_it_left_off();
    run_and_cancel({});
    expect_whole(submit("single_node.sbatch", {"--time=30"}, kLongRun), kLongRun);
}

TEST_F(SlurmSoak, Row15AJobWhoseCommitDoesNotEndGoesBackInItsLastSecond) {
    const auto marker = dir_ / "was";
    const std::string job = submit(
        "single_node.sbatch",
        {"--time=1", fmt::format("--export=ALL,KIBAN_FAULT=ckpt.manifest=hang@3,KIBAN_FAULT_ONCE={}", marker.string())},
        kLongRun);
    expect_whole(job, kLongRun);
    EXPECT_TRUE(std::filesystem::exists(marker)) << "the fault never fired";
    EXPECT_TRUE(contains(job_log(), "still holds this coordinator up")) << job_log();
    EXPECT_EQ(field_of(job, "Restarts"), "1");
}

TEST_F(SlurmSoak, AJobWhoseTimeEndsInThePreflightGoesBackAndIsLookedAtAgain) {
    const std::string job = sbatch({"--time=10", "--nodes=2", "--export=ALL,INTERFACE=127.0.0.1", "--output=job.out"},
                                   "many_nodes.sbatch", {"run.toml", "--run-dir", "run"});
    const auto mark = dir_ / fmt::format(".kiban-preflight-{}", job);
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return std::filesystem::exists(mark); })) << job_log();
    ASSERT_EQ(command_of({"scancel", "--batch", "--signal=USR1", job}, environment()).exit_code, 0);
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return field_of(job, "Restarts") == "1"; })) << job_log();
    EXPECT_FALSE(std::filesystem::exists(dir_ / "run")) << "no training has begun";
    ASSERT_TRUE(ends(job)) << job_log();
    EXPECT_EQ(state_of(job), "COMPLETED") << job_log();
    EXPECT_TRUE(contains(job_log(), "every node that was looked at is fit for a run")) << job_log();
    EXPECT_FALSE(std::filesystem::exists(mark));
    EXPECT_EQ(journaled("run", "coordinator_started"), 1U);
}

TEST_F(SlurmSoak, ARunOverTwoNodesBySrunSurvivesTheKillOfAWorker) {
    const std::string job = sbatch({"--time=10", "--nodes=2", "--export=ALL,INTERFACE=127.0.0.1", "--output=job.out"},
                                   "many_nodes.sbatch", {"run.toml", "--run-dir", "run"});
    ASSERT_TRUE(eventually(kPatienceSeconds, [&] { return last_step("run") >= 60; })) << job_log();
    const int victim = worker_process("run", 1);
    ASSERT_NE(victim, 0) << job_log();
    ASSERT_EQ(::kill(victim, SIGKILL), 0);
    ASSERT_TRUE(ends(job)) << job_log();
    EXPECT_EQ(state_of(job), "COMPLETED") << job_log();
    EXPECT_EQ(journaled("run", "attempt_ended"), 3U) << "preparation, the one killed, the last\n" << job_log();
    ASSERT_EQ(kiban(pretrain("whole", 2)).exit_code, 0);
    EXPECT_EQ(csv("run"), csv("whole"));
}

}  // namespace
}  // namespace kiban::testing
