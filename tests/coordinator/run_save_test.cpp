// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <poll.h>

#include "checkpoint/reader.h"
#include "coordinator/run/reading_mark.h"
#include "coordinator/run/save.h"
#include "monitoring/error.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;
using checkpoint::testing::curve_rows;
using checkpoint::testing::curve_text;
using monitoring::CurveRow;

// A coordinator with two workers that are not there: their answers are given by the test.
class SaveOfARun : public ::testing::Test {
  protected:
    SaveSetup setup() {
        return {.run_dir = scratch_.path(),
                .attempt = 1,
                .workers = 2,
                .is_current = [this] { return current_; },
                .before_commit =
                    [this](std::uint64_t step) {
                        asked_step_ = step;
                        return rows_;
                    }};
    }

    // Up to the moment when the commit's thread has all it needs.
    std::optional<SaveOutcome> answer_all(SaveFlow& flow, std::uint64_t step) {
        const checkpoint::testing::Save save{scratch_.path(), step};
        if (auto failed = flow.begin(channel_, {.step = step,
                                                .bytes = 0,
                                                .state = to_json(checkpoint::testing::state_of(save)),
                                                .waited_for = false})) {
            return failed;
        }
        const fs::path staging = fs::directory_iterator(scratch_.path() / "ckpt" / ".staging")->path();
        std::optional<SaveOutcome> outcome;
        for (int rank = 0; rank < 2; ++rank) {
            const auto report = checkpoint::to_json(checkpoint::testing::write_shard_of(save, staging, rank));
            outcome = flow.shard_written(channel_, rank, {.step = step, .error = "", .report = report, .seconds = 1});
        }
        return outcome;
    }

    SaveOutcome wait_for(SaveFlow& flow) {
        pollfd item{flow.descriptor(), POLLIN, 0};
        EXPECT_EQ(::poll(&item, 1, 60'000), 1);
        return flow.outcome(channel_).value();
    }

    std::string curve_in(const SaveOutcome& outcome) {
        return curve_text(checkpoint::read_curve_of(outcome.committed.value().directory).value());
    }

    checkpoint::testing::Scratch scratch_;
    bool current_ = true;
    std::uint64_t asked_step_ = 0;
    std::vector<CurveRow> rows_;
    CoordinatorChannel channel_{CoordinatorChannelOptions{
        .run_dir = scratch_.path(), .run_id = "r", .attempt = 1, .workers = 2, .heartbeat_timeout_seconds = 30}};
};

TEST_F(SaveOfARun, PutsTheCurveUpToItsStepIntoTheCheckpointWhileTrainingAddsToIt) {
    SaveFlow flow(setup());
    rows_ = curve_rows(15);  // steps 13 to 15 were done while the shards of step 12 were written
    ASSERT_FALSE(answer_all(flow, 12));
    for (CurveRow& row : rows_) row.loss = -1;  // what the run does with its rows now is not the commit's affair
    rows_.clear();
    EXPECT_EQ(curve_in(wait_for(flow)), curve_text(curve_rows(12)));
    EXPECT_EQ(asked_step_, 12U);
}

TEST_F(SaveOfARun, ThatCannotMakeItsCurveDurableIsNoCheckpoint) {
    SaveSetup broken = setup();
    broken.before_commit = [](std::uint64_t) -> std::vector<CurveRow> { throw IoError("the disk is gone"); };
    SaveFlow flow(broken);
    const auto outcome = answer_all(flow, 3);
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->error, "the disk is gone");
    EXPECT_TRUE(checkpoint::list_checkpoints(scratch_.path()).empty());
    EXPECT_EQ(checkpoint::testing::entries_in(scratch_.path() / "ckpt" / ".staging"), 0U);
}

TEST_F(SaveOfARun, Row17OfACoordinatorThatWasOvertakenBecomesNoCheckpoint) {
    SaveFlow flow(setup());
    current_ = false;
    const auto outcome = answer_all(flow, 3);
    ASSERT_TRUE(outcome);
    EXPECT_FALSE(outcome->committed);
    EXPECT_EQ(outcome->error, "another coordinator has the run");
    EXPECT_EQ(asked_step_, 0U);  // nothing of the run was touched
    EXPECT_TRUE(checkpoint::list_checkpoints(scratch_.path()).empty());
}

TEST_F(SaveOfARun, WhoseCurveDoesNotReachItIsNoCheckpoint) {
    SaveFlow flow(setup());
    rows_ = curve_rows(2);
    ASSERT_FALSE(answer_all(flow, 3));
    const SaveOutcome outcome = wait_for(flow);
    EXPECT_FALSE(outcome.committed);
    EXPECT_NE(outcome.error.find("the curve of a checkpoint of step 3 ends at step 2"), std::string::npos)
        << outcome.error;
}

TEST_F(SaveOfARun, KeepsMilestones) {
    SaveSetup with_milestones = setup();
    with_milestones.keep = 2;
    with_milestones.milestone_steps = 10;
    SaveFlow flow(with_milestones);
    rows_ = curve_rows(50);
    for (const std::uint64_t step : {5U, 12U, 15U, 22U, 25U, 26U}) {
        ASSERT_FALSE(answer_all(flow, step));
        EXPECT_TRUE(wait_for(flow).committed);
    }
    std::vector<std::uint64_t> steps;
    for (const auto& info : checkpoint::list_checkpoints(scratch_.path())) steps.push_back(info.step);
    EXPECT_EQ(steps, (std::vector<std::uint64_t>{26, 25, 22, 12}));
}

TEST_F(SaveOfARun, Row24LeavesOlderOnesThatAreReadAndWhatUsersPinned) {
    fs::create_directory(scratch_.path() / "lease");
    SaveSetup two = setup();
    two.keep = 2;
    SaveFlow flow(two);
    rows_ = curve_rows(50);
    const auto saved = [&](std::uint64_t step) {
        EXPECT_FALSE(answer_all(flow, step));
        return wait_for(flow).committed.value();
    };
    const auto steps = [&] {
        std::vector<std::uint64_t> left;
        for (const auto& info : checkpoint::list_checkpoints(scratch_.path())) left.push_back(info.step);
        return left;
    };
    using Steps = std::vector<std::uint64_t>;
    checkpoint::pin_checkpoint(scratch_.path(), saved(1), true);
    {
        const ReadingMark pinned_one(checkpoint::list_checkpoints(scratch_.path()).back().directory);
        const ReadingMark mark(saved(2).directory / "");
        for (const std::uint64_t step : {3U, 4U, 5U}) saved(step);
        EXPECT_EQ(steps(), (Steps{5, 4, 2, 1}));
    }
    saved(6);
    EXPECT_EQ(steps(), (Steps{6, 5, 1})) << "a pin is not the reader's to end";
    EXPECT_TRUE(fs::is_empty(scratch_.path() / "lease"));
}

}  // namespace
}  // namespace kiban::coordinator
