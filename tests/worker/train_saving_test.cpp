// SPDX-License-Identifier: Apache-2.0
// Checkpoints beside training: what is in them, and what they do to training.
#include <gtest/gtest.h>

#include <algorithm>

#include "monitoring/file.h"
#include "tests/worker/train_jobs.h"

namespace kiban::worker {
namespace {

namespace fs = std::filesystem;
using coordinator::StepReport;

class Saving : public Jobs {
  protected:
    // Of a model whose shards are several MiB, so that a pool of one does not hold them.
    std::vector<std::string> larger(std::vector<std::string> more) const {
        more.insert(more.end(), {"model.d_model=128", "train.schedule.name=constant"});
        return more;
    }
};

std::vector<double> losses_of(const Conductor& heard) {
    std::vector<double> losses;
    for (const StepReport& step : heard.steps) losses.push_back(step.loss);
    return losses;
}

// The bytes of all shards of the checkpoint of a step.
std::vector<std::string> shards_at(const Conductor& heard, std::uint64_t step) {
    const auto found = std::find_if(heard.committed.begin(), heard.committed.end(), [&](const std::string& directory) {
        return fs::path(directory).filename().string().starts_with(fmt::format("step-{:012}-", step));
    });
    std::vector<std::string> shards;
    if (found == heard.committed.end()) return shards;
    for (int rank = 0; rank < test_world().size(); ++rank)
        shards.push_back(monitoring::read_text(fs::path(*found) / checkpoint::shard_file_name(rank)));
    return shards;
}

double stall_of(const Conductor& heard, std::uint64_t after_step) {
    double sum = 0;
    for (const StepReport& step : heard.steps) {
        const auto save = step.phase_seconds.find("save");
        if (step.step > after_step && save != step.phase_seconds.end()) sum += save->second;
    }
    return sum;
}

std::vector<std::uint64_t> skipped(const Conductor& heard) {
    std::vector<std::uint64_t> steps;
    for (const StepReport& step : heard.steps) {
        if (step.save_skipped) steps.push_back(step.step);
    }
    return steps;
}

// The run that stops at step 5 saves it while training stands still.
TEST_F(Saving, ACheckpointMadeBesideTrainingHasTheBytesOfOneThatTrainingWaitedFor) {
    for (const char* zero : {"parallel.zero=0", "parallel.zero=1", "parallel.zero=3"}) {
        const auto waited = run({.job = job(larger({zero, "train.steps=5"}))});
        ASSERT_EQ(failure_, "");
        for (const std::string copy : {"snapshot", "lazy", "auto"}) {
            std::vector<std::string> overrides = {zero, "checkpoint.copy=" + copy};
            if (copy != "snapshot") overrides.emplace_back("checkpoint.pool_mib=1");
            const auto beside = run({.job = job(larger(overrides))});
            ASSERT_EQ(failure_, "");
            if (!beside) continue;
            const auto expected = shards_at(*waited, 5);
            ASSERT_EQ(expected.size(), static_cast<std::size_t>(ranks()));
            EXPECT_GT(expected[0].size(), std::size_t{2} << 20);
            EXPECT_TRUE(shards_at(*beside, 5) == expected) << zero << " " << copy;
            ASSERT_EQ(beside->steps.size(), 12U);
            const auto losses = losses_of(*beside);
            EXPECT_EQ(std::vector(losses.begin(), losses.begin() + 5), losses_of(*waited)) << zero << " " << copy;
        }
    }
}

TEST_F(Saving, ASlowDiskStallsNoStepAndWhatIsDueMeanwhileIsSkippedAndCounted) {
    const auto heard = run({.job = job({"checkpoint.interval_steps=2", "checkpoint.max_mib_per_second=0.02"})});
    ASSERT_EQ(failure_, "");
    if (!heard) return;
    ASSERT_EQ(heard->steps.size(), 12U);
    EXPECT_EQ(skipped(*heard), (std::vector<std::uint64_t>{4, 6, 8, 10}));
    std::vector<std::uint64_t> stages;
    for (const auto& stage : heard->stages) stages.push_back(stage.step);
    EXPECT_EQ(stages, (std::vector<std::uint64_t>{0, 2, 12})) << "the last one waits for the one under way";
    EXPECT_EQ(heard->committed.size(), 3U);
    EXPECT_LT(stall_of(*heard, 2), 2.0) << "at the limit, a shard takes longer than that";
}

TEST_F(Saving, AStopInTheMiddleOfASaveBesideTrainingWaitsForItAndSavesItsOwnStep) {
    const auto heard = run({.job = job({"checkpoint.interval_steps=2", "checkpoint.max_mib_per_second=0.02",
                                        "train.steps=1000000"}),  // a stop is heard before the last step
                            .stop_after_step = 3});
    ASSERT_EQ(failure_, "");
    if (!heard) return;
    const std::uint64_t stopped_at = heard->finished.at(0).step;
    EXPECT_LT(stopped_at, 1000000U);
    ASSERT_EQ(heard->committed.size(), 3U);
    EXPECT_EQ(shards_at(*heard, 2).size(), static_cast<std::size_t>(ranks()));
    EXPECT_EQ(shards_at(*heard, stopped_at).size(), static_cast<std::size_t>(ranks()));
}

TEST_F(Saving, AnUpdateWaitsForWhatIsNotCopiedYetAndNotForTheDisk) {
    const auto heard = run({.job = job(larger({"checkpoint.interval_steps=4", "checkpoint.copy=lazy",
                                               "checkpoint.pool_mib=1", "checkpoint.max_mib_per_second=0.02"}))});
    ASSERT_EQ(failure_, "");
    const auto waited = run({.job = job(larger({"train.steps=4"}))});  // by all ranks, though one alone has heard
    if (!heard) return;
    EXPECT_TRUE(shards_at(*heard, 4) == shards_at(*waited, 4));
    EXPECT_LT(stall_of(*heard, 0), 60.0) << "the limit is lifted while an update waits: else minutes";
}

TEST_F(Saving, AtAnAutomaticIntervalTheCoordinatorsWordDecides) {
    const auto never = run({.job = job({"checkpoint.interval_steps=auto"})});
    ASSERT_EQ(failure_, "");
    const auto each_three = run({.job = job({"checkpoint.interval_steps=auto"}), .save_interval = 3});
    ASSERT_EQ(failure_, "");
    if (!never) return;
    EXPECT_EQ(never->stages.size(), 2U) << "the first and the last";
    std::vector<std::uint64_t> steps;
    for (const auto& stage : each_three->stages) steps.push_back(stage.step);
    ASSERT_GE(steps.size(), 3U);
    EXPECT_GE(steps[1], 3U) << "three steps after the start at least";
    EXPECT_EQ(steps.back(), 12U);
    EXPECT_EQ(losses_of(*never), losses_of(*each_three));
}

TEST_F(Saving, ASnapshotThatThePoolDoesNotHoldIsRefusedBeforeTheFirstStep) {
    const auto heard = run({.job = job(larger({"checkpoint.copy=snapshot", "checkpoint.pool_mib=1"}))});
    EXPECT_TRUE(failure_.starts_with("ConfigError: checkpoint.pool_mib: a snapshot of this worker's ")) << failure_;
    if (!heard) return;
    EXPECT_TRUE(heard->steps.empty());
    EXPECT_TRUE(heard->stages.empty());
}

}  // namespace
}  // namespace kiban::worker
