// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "checkpoint/commit.h"
#include "coordinator/run/good_checkpoint.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/train.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::coordinator {
namespace {

using Steps = std::vector<std::uint64_t>;
using Promoted = std::vector<bool>;

TEST(RollbackTarget, IsTheNewestPromotedCheckpointBeforeTheTrouble) {
    const Steps steps = {400, 300, 200, 100};
    EXPECT_EQ(rollback_target(steps, {false, false, true, true}, 350, std::nullopt), 2u);
    EXPECT_EQ(rollback_target(steps, {true, true, true, true}, 350, std::nullopt), 1u);
    EXPECT_EQ(rollback_target(steps, {true, true, true, true}, 300, std::nullopt), 2u)
        << "what was saved after step 300 holds update 300";
}

TEST(RollbackTarget, IsTheNewestOneWhereNoneIsPromoted) {
    EXPECT_EQ(rollback_target({400, 300, 200}, {false, false, false}, 350, std::nullopt), 1u);
    EXPECT_EQ(rollback_target({}, {}, 350, std::nullopt), std::nullopt);
}

TEST(RollbackTarget, IsTheOldestOneWhereAllAreLater) {
    EXPECT_EQ(rollback_target({400}, {true}, 350, std::nullopt), 0u);
    EXPECT_EQ(rollback_target({600, 500, 400}, {true, true, false}, 350, std::nullopt), 2u);
    EXPECT_EQ(rollback_target({600, 500, 400}, {true, true, false}, 350, 500), 2u);
}

TEST(RollbackTarget, PassesOverWhatWasLoadedWhereThatIsSuspect) {
    EXPECT_EQ(rollback_target({300, 200, 100}, {true, true, true}, 310, 300), 1u);
    EXPECT_EQ(rollback_target({300, 200, 100}, {true, false, true}, 310, 300), 2u);
    EXPECT_EQ(rollback_target({300}, {true}, 310, 300), 0u) << "there is nothing before it";
}

// A run with checkpoints of steps 10, 20 and 30, as training sees it after an attempt that began with the newest.
class RollingBack : public ::testing::Test {
  protected:
    using Save = checkpoint::testing::Save;

    TrainMode mode() { return {session_, training_, upkeep_, 2}; }
    checkpoint::CheckpointInfo save(std::uint64_t step) const {
        return checkpoint::testing::write_checkpoint(
            {.run_dir = scratch_.path(), .step = step, .writers = 1, .model = checkpoint::testing::tiny_model()});
    }
    static void damage(const checkpoint::CheckpointInfo& one) {
        std::filesystem::remove(one.directory / "MANIFEST.json");
    }
    void refuse(std::uint64_t step) {
        training_.refused.push_back(step);
        StepRefused refused;
        refused.step = step;
        refused.position = 1000;
        refused.rows = 12;
        refused.roll_back = true;
        training_.last_refused = refused;
    }
    Steps left() const {
        Steps steps;
        for (const auto& one : checkpoint::list_checkpoints(scratch_.path())) steps.push_back(one.step);
        return steps;
    }
    nlohmann::json last_entry(const std::string& event) const {
        nlohmann::json last;
        for (const auto& entry : read_journal(directory_.journal())) {
            if (entry.at("event") == event) last = entry;
        }
        return last;
    }

    checkpoint::testing::Scratch scratch_;
    RunDirectory directory_{scratch_.path()};
    RunFile run_file_ =
        parse_run_file("[[data.sources]]\npath = 'a.txt'\n[launch]\nthreads_per_worker = 1\n[train]\nbatch_rows = 12\n",
                       scratch_.path(), "run.toml", {});
    Lease lease_ = Lease::acquire(scratch_.path());
    StopSignals signals_;
    Board board_{directory_, {}, ""};
    Console console_{false};
    RequestBox requests_{scratch_.path()};
    Session session_{.run_file = run_file_,
                     .directory = directory_,
                     .run_id = "r",
                     .lease = lease_,
                     .signals = signals_,
                     .board = board_,
                     .console = console_,
                     .requests = requests_};
    TrainProgress training_{
        .curve = monitoring::CurveWriter(directory_.curve()), .manifest = "", .manifest_digest = ""};
    Upkeep upkeep_{directory_, run_file_.checkpoint, board_};
    const checkpoint::CheckpointInfo ten_ = save(10);
    const checkpoint::CheckpointInfo twenty_ = save(20);
    const checkpoint::CheckpointInfo thirty_ = save(30);
    const Decision roll_back_{.kind = Decision::Kind::restart, .roll_back = true};
};

TEST_F(RollingBack, TakesNoDamagedCheckpointAndRejectsAllLaterOnes) {
    TrainMode training = mode();
    damage(twenty_);
    refuse(35);
    training.before_restart(roll_back_);
    EXPECT_EQ(left(), Steps{10});
    const auto entry = last_entry("rolled_back");
    EXPECT_EQ(entry.at("to_step"), 10);
    EXPECT_EQ(entry.at("checkpoint"), ten_.directory.filename().string());
    EXPECT_EQ(last_entry("rows_left_out").at("first"), 120) << "where the checkpoint's next row is: 12 rows a step";
    EXPECT_EQ(last_entry("rows_left_out").at("count"), 892);
    EXPECT_EQ(training.progress(), 11U);
}

TEST_F(RollingBack, BeforeTheOldestCheckpointGoesBackToThatOne) {
    TrainMode training = mode();
    refuse(5);
    training.before_restart(roll_back_);
    EXPECT_EQ(left(), Steps{10});
    EXPECT_EQ(last_entry("rolled_back").at("to_step"), 10);
}

TEST_F(RollingBack, WithoutACheckpointBeginsAnew) {
    for (const auto& one : {ten_, twenty_, thirty_}) std::filesystem::remove_all(one.directory);
    TrainMode training = mode();
    refuse(5);
    training.before_restart(roll_back_);
    EXPECT_EQ(last_entry("rolled_back").at("to_step"), 0);
    EXPECT_EQ(last_entry("rows_left_out").at("count"), 1012);
    EXPECT_EQ(training.progress(), 0U);
}

TEST_F(RollingBack, DamagedCheckpointsAreNoOlderOnesToTurnTo) {
    const TrainMode training = mode();
    EXPECT_TRUE(training.has_older_checkpoint());
    damage(twenty_);
    EXPECT_TRUE(training.has_older_checkpoint());
    damage(ten_);
    EXPECT_FALSE(training.has_older_checkpoint()) << "the only good one is not to be rejected";
    EXPECT_EQ(good_checkpoints(scratch_.path()).size(), 1U);
}

TEST_F(RollingBack, Row08ATruncatedShardOfTheNewestCheckpointLeadsToTheOneBeforeItAndIsTold) {
    const auto shard = thirty_.directory / "shard-00000.h5";
    std::filesystem::resize_file(shard, std::filesystem::file_size(shard) - 1);
    const TrainMode training = mode();
    EXPECT_EQ(training.progress(), 21U) << "of step 20";
    const auto entry = last_entry("checkpoint_rejected");
    ASSERT_TRUE(entry.is_object());
    EXPECT_EQ(entry.at("checkpoint"), thirty_.directory.string());
    EXPECT_NE(entry.at("reason").get<std::string>().find("shard-00000.h5"), std::string::npos) << entry;
    const std::string metrics = board_.metrics().text();
    const auto sample = metrics.find("kiban_checkpoint_rejects_total{");
    ASSERT_NE(sample, std::string::npos) << metrics;
    EXPECT_NE(metrics.find("cause=\"load\"} 1\n", sample), std::string::npos) << metrics.substr(sample, 200);
}

}  // namespace
}  // namespace kiban::coordinator
