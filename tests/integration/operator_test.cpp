// SPDX-License-Identifier: Apache-2.0
// kiban save, stop and extend on whole runs, and the time limit: the curve is that of a run that nobody touched.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <csignal>
#include <map>
#include <set>

#include "checkpoint/commit.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "coordinator/run/time_spent.h"
#include "monitoring/curve.h"
#include "monitoring/file.h"
#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

class Operator : public RunTest {
  protected:
    // At one rate, so that the number of steps changes none of them.
    static std::vector<std::string> run_of(const std::string& run, int steps, std::vector<std::string> more = {}) {
        more.insert(more.end(), {"--set", fmt::format("train.steps={}", steps), "--set", "train.schedule.name=constant",
                                 "--set", "train.eval_interval_steps=0", "--set", "checkpoint.interval_steps=1000000"});
        return pretrain(run, 2, std::move(more));
    }
    std::string path(const std::string& run) const { return (dir_ / run).string(); }
};

TEST_F(Operator, ASaveIsDurableWhenItIsAnsweredAndTrainingGoesOn) {
    const auto running = start(run_of("run", 100000));
    ASSERT_TRUE(wait_for_step("run", 20, *running));
    const Ended saved = kiban({"save", path("run")});
    EXPECT_EQ(saved.exit_code, 0) << saved.output;
    const auto newest = checkpoint::newest_checkpoint(dir_ / "run");
    ASSERT_TRUE(newest.has_value());
    EXPECT_GE(newest->step, 20U);
    EXPECT_TRUE(contains(saved.output, fmt::format("checkpoint of step {} is durable", newest->step))) << saved.output;
    EXPECT_FALSE(running->ended());

    const Ended shorter = kiban({"extend", path("run"), "--steps", "3000"});
    EXPECT_EQ(shorter.exit_code, 78) << shorter.output;
    EXPECT_TRUE(contains(shorter.output, "expected more than the 100000 that it has, found 3000")) << shorter.output;

    const Ended set = kiban({"set", path("run"), "checkpoint.keep=2", "launch.max_restarts=4"});
    EXPECT_EQ(set.exit_code, 0) << set.output;
    EXPECT_TRUE(contains(set.output, "checkpoint.keep: was 3, is 2; launch.max_restarts: was 10, is 4")) << set.output;
    EXPECT_EQ(journaled("run", "set"), 2U);
    const Ended fixed = kiban({"set", path("run"), "model.layers=5"});
    EXPECT_EQ(fixed.exit_code, 78) << fixed.output;
    EXPECT_TRUE(contains(fixed.output, "model.layers does not change while a run runs")) << fixed.output;

    const Ended stopped = kiban({"stop", path("run")});
    EXPECT_EQ(stopped.exit_code, 0) << stopped.output;
    EXPECT_EQ(running->wait(kPatienceSeconds), 75) << running->output();
    EXPECT_GT(checkpoint::newest_checkpoint(dir_ / "run")->step, newest->step);
    EXPECT_EQ(journaled("run", "training"), 1U) << "a save ends no attempt";

    for (const char* verb : {"save", "stop"}) {
        const Ended late = kiban({verb, path("run")});
        EXPECT_EQ(late.exit_code, 78) << late.output;
        EXPECT_TRUE(contains(late.output, "no coordinator drives it")) << late.output;
    }
}

// The spans of one rank with this name, by step.
std::map<std::uint64_t, double> microseconds_of(const nlohmann::json& trace, int rank, const std::string& name) {
    std::map<std::uint64_t, double> found;
    for (const auto& event : trace.at("traceEvents")) {
        if (event.at("pid") == rank && event.at("name") == name && event.contains("args"))
            found[event.at("args").value("step", std::uint64_t{0})] += event.value("dur", 0.0);
    }
    return found;
}

TEST_F(Operator, ATraceSaysWhatEachRankDidInTheStepsThatWereAskedForAndTheTimeByPhaseIsKept) {
    const auto running = start(run_of("run", 100000));
    ASSERT_TRUE(wait_for_step("run", 20, *running));
    const Ended traced = kiban({"trace-steps", path("run"), "--steps", "3"});
    ASSERT_EQ(traced.exit_code, 0) << traced.output;
    const std::string file = traced.output.substr(0, traced.output.find('\n'));
    EXPECT_EQ(traced.output.substr(file.size()), "\n") << "all three steps, and nothing left out";
    const auto trace = nlohmann::json::parse(monitoring::read_text(file));
    const auto data = microseconds_of(trace, 0, "data");
    ASSERT_EQ(data.size(), 3U);
    EXPECT_TRUE(file.ends_with(fmt::format("traces/steps-{}-{}.json", data.begin()->first, data.rbegin()->first)))
        << file;
    for (const int rank : {0, 1}) {
        for (const char* phase : {"data", "forward and backward", "communication", "optimizer"}) {
            const auto steps = microseconds_of(trace, rank, phase);
            ASSERT_GE(steps.size(), 3U) << phase << " of rank " << rank;
            EXPECT_LE(steps.size(), 4U) << "the end of the step before is in it";
        }
        std::set<std::string> others;
        for (const auto& event : trace.at("traceEvents")) {
            if (event.at("pid") == rank && event.value("cat", "") != "phases")
                others.insert(event.at("name").get<std::string>());
        }
        EXPECT_TRUE(others.contains("forward 0") && others.contains("backward 0"));
        EXPECT_TRUE(others.contains("reduce_scatter data")) << "an exchange of the communication thread";
    }
    const Ended many = kiban({"trace-steps", path("run"), "--steps", "101"});
    EXPECT_EQ(many.exit_code, 78) << many.output;
    EXPECT_TRUE(contains(many.output, "expected 1 to 100, found 101")) << many.output;
    EXPECT_EQ(kiban({"stop", path("run")}).exit_code, 0);
    EXPECT_EQ(running->wait(kPatienceSeconds), 75) << running->output();
    const auto times = coordinator::read_time_spent(coordinator::RunDirectory(dir_ / "run"));
    ASSERT_EQ(times.size(), 2U);
    for (const auto& time : times) {
        for (const char* phase : {"data", "forward", "backward", "reduce", "optimizer"})
            EXPECT_GT(time.seconds.at(phase), 0) << phase << " of rank " << time.rank;
    }
}

TEST_F(Operator, AnExtendedRunHasTheCurveOfOneThatWasAsLongFromTheStart) {
    ASSERT_EQ(kiban(run_of("whole", 600)).exit_code, 0);
    const auto running = start(run_of("extended", 400), standing_still_before({100, 200, 300}));
    ASSERT_TRUE(wait_for_step("extended", 20, *running));
    const Ended extended = kiban({"extend", path("extended"), "--steps", "600"});
    EXPECT_EQ(extended.exit_code, 0) << extended.output;
    EXPECT_TRUE(contains(extended.output, "the run goes on to step 600")) << extended.output;
    ASSERT_TRUE(wait_for_step("extended", last_step("extended") + 5, *running));
    EXPECT_EQ(kiban({"stop", path("extended")}).exit_code, 0);
    EXPECT_EQ(running->wait(kPatienceSeconds), 75) << running->output();
    const Ended again = kiban(run_of("extended", 400));
    EXPECT_EQ(again.exit_code, 0) << again.output;
    EXPECT_TRUE(contains(again.output, "the run was extended from 400 to 600 steps")) << again.output;
    EXPECT_EQ(csv("extended"), csv("whole"));
    EXPECT_EQ(journaled("extended", "extended"), 1U);
    EXPECT_EQ(status("extended")->restarts, 0U) << "nothing failed";
    EXPECT_EQ(status("extended")->steps, 600U);
}

TEST_F(Operator, AForkHasTheParentsCurveUntilSomethingIsChanged) {
    const std::vector<std::string> every = {"--set", "checkpoint.keep=10"};
    ASSERT_EQ(kiban(pretrain("run", 2, every), standing_still_before({150})).exit_code, 0);  // nor is 160 skipped
    ASSERT_EQ(kiban({"fork", "run", "--step", "160", "--run-dir", "same"}).exit_code, 0);
    const Ended same = kiban({"pretrain", "same/run.toml"});
    EXPECT_EQ(same.exit_code, 0) << same.output;
    EXPECT_TRUE(contains(same.output, "resuming from step 160 (exact)")) << same.output;
    EXPECT_EQ(csv("same"), csv("run"));

    const Ended changed = kiban(pretrain("run", 2, {"--set", "train.optimizer.learning_rate=1e-4"}));
    EXPECT_EQ(changed.exit_code, 78) << changed.output;
    EXPECT_TRUE(contains(changed.output, "train.optimizer.learning_rate: saved 0.001, now 0.0001")) << changed.output;
    EXPECT_TRUE(contains(changed.output, "kiban fork " + path("run") + " --step 300 --set")) << changed.output;

    std::filesystem::copy_file("/usr/share/common-licenses/GFDL-1.3", dir_ / "other.txt");
    ASSERT_EQ(kiban({"fork", "run", "--step", "160", "--run-dir", "other", "--set", "data.sources.0.path=other.txt",
                     "--set", "train.steps=200"})
                  .exit_code,
              0);
    const Ended other = kiban({"pretrain", "other/run.toml"});
    EXPECT_EQ(other.exit_code, 0) << other.output;
    const auto parent = monitoring::read_curve(dir_ / "run" / "curve").rows;
    const auto rows = monitoring::read_curve(dir_ / "other" / "curve").rows;
    ASSERT_EQ(rows.size(), 200U);
    EXPECT_EQ(rows[159].loss, parent[159].loss);
    EXPECT_NE(rows[160].loss, parent[160].loss) << "the next row is of another text";
}

TEST_F(Operator, NoShellReadsWhatAUserWrites) {
    const std::string run = "$(touch pwned); touch pwned `touch pwned` & 'x' \"y\"";
    const Ended ended = kiban(pretrain(run, 2, {"--set", "train.steps=5", "--set", "train.schedule.warmup_steps=1"}));
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_EQ(last_step(run), 5U);
    EXPECT_FALSE(std::filesystem::exists(dir_ / "pwned"));
}

TEST_F(Operator, Row15ARunSavesAndLeavesBeforeItsJobEnds) {
    const auto end = std::chrono::system_clock::now() + std::chrono::seconds(30);
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(end.time_since_epoch()).count();
    const auto running = start(run_of("run", 1000000), {{"SLURM_JOB_END_TIME", fmt::format("{}", seconds)}});
    EXPECT_EQ(running->wait(kPatienceSeconds), 75) << running->output();
    EXPECT_LT(std::chrono::system_clock::now(), end);
    EXPECT_TRUE(contains(running->output(), "s are left of the time limit")) << running->output();
    EXPECT_EQ(checkpoint::newest_checkpoint(dir_ / "run")->step, last_step("run")) << "nothing is lost";
}

}  // namespace
}  // namespace kiban::testing
