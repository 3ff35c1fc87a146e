// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>

#include "coordinator/launch/launcher.h"
#include "coordinator/launch/process_id.h"
#include "coordinator/launch/submit.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/support/process.h"

namespace kiban::coordinator {
namespace {

using testing::eventually;
using Words = std::vector<std::string>;

StepPlan plan(LauncherKind launcher) {
    return {.launcher = launcher,
            .workers = 4,
            .threads_per_worker = 2,
            .kiban = "/opt/kiban",
            .run_dir = "/runs/a b",
            .attempt = 7,
            .as_root = true};
}

TEST(LaunchArguments, OfMpirun) {
    EXPECT_EQ(launch_arguments(plan(LauncherKind::mpirun)),
              (Words{"mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--tag-output", "-n", "4",
                     "/opt/kiban", "exec-worker", "--run-dir", "/runs/a b", "--attempt", "7", "--workers", "4",
                     "--threads", "2"}));
    StepPlan user = plan(LauncherKind::mpirun);
    user.as_root = false;
    EXPECT_EQ(launch_arguments(user).at(1), "--oversubscribe");
}

TEST(LaunchArguments, OfSrunNameTheNumberOfProcessorsOfATask) {
    EXPECT_EQ(launch_arguments(plan(LauncherKind::srun)),
              (Words{"srun", "--mpi=pmix", "--ntasks=4", "--cpus-per-task=2", "--kill-on-bad-exit=1", "--label",
                     "--unbuffered", "/opt/kiban", "exec-worker", "--run-dir", "/runs/a b", "--attempt", "7",
                     "--workers", "4", "--threads", "2"}));
}

TEST(ChooseLauncher, AutoIsSrunInsideAnAllocation) {
    EXPECT_EQ(choose_launcher("auto", {}), LauncherKind::mpirun);
    EXPECT_EQ(choose_launcher("auto", {{"SLURM_JOB_ID", "1"}}), LauncherKind::srun);
    EXPECT_EQ(choose_launcher("mpirun", {{"SLURM_JOB_ID", "1"}}), LauncherKind::mpirun);
    EXPECT_EQ(choose_launcher("srun", {{"SLURM_JOB_ID", "1"}}), LauncherKind::srun);
}

TEST(ChooseLauncher, SrunOutsideOfAnAllocationSaysHowToSubmit) {
    try {
        choose_launcher("srun", {});
        FAIL() << "it was taken";
    } catch (const ConfigError& error) {
        EXPECT_NE(std::string(error.what()).find("kiban submit RUN.toml"), std::string::npos);
    }
}

// A machine with srun in PATH and a slurm.conf.
class LoginNode : public ::testing::Test {
  protected:
    LoginNode() : dir_(std::filesystem::temp_directory_path() / fmt::format("kiban-login-{}", ::getpid())) {
        std::filesystem::create_directories(dir_);
        for (const char* name : {"srun", "slurm.conf"}) {
            std::ofstream(dir_ / name) << "\n";
            std::filesystem::permissions(dir_ / name, std::filesystem::perms::owner_all);
        }
        environment_ = {{"PATH", "/nowhere:" + dir_.string()}, {"SLURM_CONF", (dir_ / "slurm.conf").string()}};
    }
    ~LoginNode() override { std::filesystem::remove_all(dir_); }

    std::filesystem::path dir_;
    Environment environment_;
};

TEST_F(LoginNode, AutoIsRefusedThereAndSaysHowToSubmitAndHowToTrainAllTheSame) {
    try {
        refuse_login_node("auto", environment_);
        FAIL() << "it was let through";
    } catch (const ConfigError& error) {
        const std::string message = error.what();
        EXPECT_NE(message.find((dir_ / "srun").string()), std::string::npos) << message;
        EXPECT_NE(message.find("kiban submit RUN.toml"), std::string::npos) << message;
        EXPECT_NE(message.find("launch.launcher = 'mpirun'"), std::string::npos) << message;
    }
}

TEST_F(LoginNode, AnAllocationAWordOfTheUserOrAMachineWithoutSlurmIsNone) {
    refuse_login_node("mpirun", environment_);
    Environment allocated = environment_;
    allocated["SLURM_JOB_ID"] = "7";
    refuse_login_node("auto", allocated);
    Environment no_program = environment_;
    no_program["PATH"] = "/nowhere";
    refuse_login_node("auto", no_program);
    std::filesystem::remove(dir_ / "slurm.conf");  // Slurm's client is installed, and belongs to no cluster
    refuse_login_node("auto", environment_);
}

TEST(SubmitArguments, GiveTheNumbersAndLetTheUsersOptionsWin) {
    const Submission submission = {.run_dir = "/runs/a",
                                   .run_file = "/runs/a.toml",
                                   .overrides = {"train.steps=5"},
                                   .name = "a",
                                   .nodes = 2,
                                   .workers = 8,
                                   .threads_per_worker = 4,
                                   .sbatch_options = {"--partition=gpu", "--ntasks=16"}};
    EXPECT_EQ(submit_arguments(submission, "/runs/a/kiban.sbatch"),
              (Words{"sbatch", "--parsable", "--job-name=a", "--nodes=2", "--ntasks=8", "--cpus-per-task=4",
                     "--output=/runs/a/slurm-%j.out", "--partition=gpu", "--ntasks=16", "/runs/a/kiban.sbatch",
                     "/runs/a.toml", "--set", "train.steps=5"}));
}

TEST(SubmitArguments, SayNothingOfProcessorsWhenTheRunFileDoesNot) {
    const Submission submission = {.run_dir = "/runs/a",
                                   .run_file = "/runs/a.toml",
                                   .overrides = {},
                                   .name = "a",
                                   .nodes = 1,
                                   .workers = 8,
                                   .threads_per_worker = 0,
                                   .sbatch_options = {"--exclusive"}};
    EXPECT_EQ(submit_arguments(submission, "/runs/a/kiban.sbatch"),
              (Words{"sbatch", "--parsable", "--job-name=a", "--nodes=1", "--ntasks=8", "--output=/runs/a/slurm-%j.out",
                     "--exclusive", "/runs/a/kiban.sbatch", "/runs/a.toml"}));
}

TEST(SubmitArguments, TheLastThatSaysHowManyNodesCounts) {
    const auto nodes = [](const Words& options) {
        Submission submission;
        submission.nodes = 3;
        submission.sbatch_options = options;
        return most_nodes(submission);
    };
    EXPECT_EQ(nodes({"--no-kill", "--nodelist=n[1-9]"}), 3);
    EXPECT_EQ(nodes({"--nodes=2"}), 2);
    EXPECT_EQ(nodes({"--nodes", "4", "--exclusive"}), 4);
    EXPECT_EQ(nodes({"-N5"}), 5);
    EXPECT_EQ(nodes({"-N", "2-6"}), 6);
    EXPECT_EQ(nodes({"--nodes=7", "-N1"}), 1);
    EXPECT_EQ(nodes({"--nodes=many"}), 3) << "sbatch says that it is none";
    EXPECT_EQ(nodes({"--nodes"}), 3);
}

class Step : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "kiban-step-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        dir_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(dir_); }

    static int wait_for(StepProcess& step) {
        pollfd item{step.descriptor(), POLLIN, 0};
        ::poll(&item, 1, 60000);
        return step.exit_code().value_or(-1);
    }

    // What the program has printed, once that is a line.
    std::string said() const {
        std::string text;
        EXPECT_TRUE(eventually(60, [&] {
            text = monitoring::read_text_if_exists(dir_ / "launcher.out").value_or("");
            return text.ends_with('\n');
        }));
        return text;
    }
    static bool is_gone(int process) {
        return eventually(60, [process] { return !find_process(process).has_value(); });
    }

    std::filesystem::path dir_;
};

TEST_F(Step, OutputGoesToTheLogFilesAndTheExitCodeComesBack) {
    StepProcess step({"sh", "-c", "echo out; echo --- >&2; echo one >&2; echo \"$KIBAN_TEST\" >&2; exit 7"},
                     {{"KIBAN_TEST", "two"}}, dir_ / "logs");
    EXPECT_EQ(wait_for(step), 7);
    EXPECT_EQ(monitoring::read_text(dir_ / "logs/launcher.out"), "out\n");
    EXPECT_EQ(monitoring::read_text(dir_ / "logs/launcher.err"), "---\none\ntwo\n");
    EXPECT_EQ(step.last_error_lines(2), "one\ntwo");
    EXPECT_EQ(step.last_error_lines(5), "one\ntwo");  // rulers say nothing
}

TEST_F(Step, WhatTheEnvironmentHasAlreadyStays) {
    ::setenv("KIBAN_TEST", "mine", 1);
    StepProcess step({"sh", "-c", "echo $KIBAN_TEST"}, {{"KIBAN_TEST", "yours"}}, dir_);
    EXPECT_EQ(wait_for(step), 0);
    ::unsetenv("KIBAN_TEST");
    EXPECT_EQ(monitoring::read_text(dir_ / "launcher.out"), "mine\n");
}

TEST_F(Step, AProgramThatIsNotThereIsNamed) {
    try {
        const StepProcess step({"no-such-launcher"}, {}, dir_);
        FAIL() << "it started";
    } catch (const ConfigError& error) {
        EXPECT_STREQ(error.what(),
                     "cannot start 'no-such-launcher': No such file or directory; is it installed and in PATH? ('kiban "
                     "doctor' tells)");
    }
}

TEST_F(Step, DeathBySignalIs128PlusItsNumber) {
    StepProcess step({"sh", "-c", "kill -KILL $$"}, {}, dir_);
    EXPECT_EQ(wait_for(step), 137);
}

TEST_F(Step, StopIsTermFirst) {
    StepProcess step({"sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"}, {}, dir_);
    said();
    EXPECT_EQ(step.stop(60), 3);
}

TEST_F(Step, StopKillsTheWholeGroupWhenTermIsNotHeard) {
    StepProcess step({"sh", "-c", "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.1; done' & wait"},
                     {}, dir_);
    const int grandchild = std::stoi(said());
    ASSERT_TRUE(find_process(grandchild).has_value());
    EXPECT_EQ(step.stop(0.3), 137);
    EXPECT_TRUE(is_gone(grandchild));
}

TEST_F(Step, WhoWaitsForItsEndIsAskedEachSecondAndANoEndsTheGrace) {
    StepProcess step({"sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"}, {}, dir_);
    said();
    const auto start = std::chrono::steady_clock::now();
    int asked = 0;
    EXPECT_EQ(step.stop(100, [&asked] { return ++asked < 2; }), 137);
    EXPECT_GE(asked, 2);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(50));
}

TEST_F(Step, AStoppedProcessIsEndedToo) {
    StepProcess step({"sleep", "100"}, {}, dir_);
    ::kill(step.pid(), SIGSTOP);
    ASSERT_TRUE(eventually(60, [&] {
        const auto process = find_process(step.pid());
        return process && process_state(*process) == "stopped";
    }));
    EXPECT_EQ(step.stop(60), 128 + SIGTERM);
}

TEST_F(Step, DiesWithTheProcessThatStartedIt) {
    const pid_t parent = ::fork();
    if (parent == 0) {
        const StepProcess step({"sh", "-c", "echo $$; exec sleep 100"}, {}, dir_);
        said();
        ::kill(::getpid(), SIGKILL);
    }
    ::waitpid(parent, nullptr, 0);
    EXPECT_TRUE(is_gone(std::stoi(said())));
}

TEST_F(Step, RunsInItsOwnProcessGroupWithNothingBlocked) {
    StepProcess step({"sh", "-c", "ps -o pgid= -p $$; grep SigBlk /proc/self/status"}, {}, dir_);
    sigset_t all;
    sigfillset(&all);
    EXPECT_EQ(wait_for(step), 0);
    const std::string output = monitoring::read_text(dir_ / "launcher.out");
    EXPECT_EQ(std::stoi(output), step.pid());
    EXPECT_NE(output.find("SigBlk:\t0000000000000000"), std::string::npos) << output;
}

TEST(ProcessId, AZombieAndAnotherNameDoNotCount) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    siginfo_t ended{};
    ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT), 0);  // it stays a zombie
    EXPECT_FALSE(find_process(child).has_value());
    ::waitpid(child, nullptr, 0);
    EXPECT_TRUE(is_alive(this_process()));
    EXPECT_FALSE(find_process(::getpid(), "kiban-worker").has_value());
    ProcessId earlier = this_process();
    --earlier.start_ticks;  // the same pid, given away again
    EXPECT_FALSE(is_alive(earlier));
}

}  // namespace
}  // namespace kiban::coordinator
