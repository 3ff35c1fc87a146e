// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <span>
#include <thread>

#include "checkpoint/commit.h"
#include "coordinator/run/lease.h"
#include "coordinator/run/upkeep.h"
#include "monitoring/crc32c.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/checkpoint/small_model.h"
#include "tests/support/model_file_system.h"

namespace kiban::coordinator {
namespace {

using checkpoint::testing::curve_rows;
using checkpoint::testing::curve_text;
using checkpoint::testing::Scratch;
using checkpoint::testing::write_checkpoint;
using monitoring::CurveRow;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(Health, NeedsEveryStepOfTheWindowFinite) {
    auto rows = curve_rows(20);
    EXPECT_TRUE(healthy_after(rows, 10, 10));
    EXPECT_FALSE(healthy_after(rows, 10, 11));  // not yet
    EXPECT_TRUE(healthy_after(rows, 0, 20));
    rows[14].loss = kInfinity;  // of step 15
    EXPECT_FALSE(healthy_after(rows, 10, 10));
    EXPECT_TRUE(healthy_after(rows, 10, 4));
    EXPECT_TRUE(healthy_after(rows, 15, 5));  // the step itself came before the checkpoint's weights
    rows[14].loss = 1;
    rows[14].grad_norm = std::numeric_limits<double>::quiet_NaN();
    EXPECT_FALSE(healthy_after(rows, 10, 10));
    rows[14].grad_norm = 0;
    rows[14].loss = std::numeric_limits<double>::quiet_NaN();
    EXPECT_TRUE(healthy_after(rows, 10, 10)) << "a step without a target says nothing against the others";
    rows.erase(rows.begin() + 14);
    EXPECT_FALSE(healthy_after(rows, 10, 9));  // a hole is no health
}

class Restoring : public ::testing::Test {
  protected:
    Restoring() : directory_(scratch_.path()), newest_(write_checkpoint({scratch_.path(), 12})) {}

    void write_record(std::uint64_t last) {
        monitoring::CurveWriter writer(directory_.curve());
        writer.begin_attempt(1, 0);
        for (const CurveRow& row : curve_rows(last)) writer.append(row);
    }
    void expect_curve_of(std::uint64_t last) {
        EXPECT_EQ(curve_text(monitoring::read_curve(directory_.curve()).rows), curve_text(curve_rows(last)));
    }

    Scratch scratch_;
    RunDirectory directory_;
    checkpoint::CheckpointInfo newest_;
};

TEST_F(Restoring, AMissingRecordComesBackFromTheCheckpointBitForBit) {
    EXPECT_EQ(restore_curve(directory_, newest_).reason, "it holds no step");
    expect_curve_of(12);
    monitoring::CurveWriter writer(directory_.curve());  // and can be gone on with
    writer.begin_attempt(2, 12);
    writer.append(curve_rows(13).back());
    EXPECT_EQ(writer.rows().size(), 13U);
}

TEST_F(Restoring, AShortRecordIsReplacedAndKeptBeside) {
    write_record(7);
    EXPECT_EQ(restore_curve(directory_, newest_).reason, "it ends at step 7");
    expect_curve_of(12);
    EXPECT_TRUE(std::filesystem::exists(directory_.curve() / "curve.log.replaced"));
    std::filesystem::remove(directory_.curve() / "curve.log");
    write_record(5);
    EXPECT_TRUE(restore_curve(directory_, newest_).restored);
    EXPECT_TRUE(std::filesystem::exists(directory_.curve() / "curve.log.replaced")) << "neither is written over";
    EXPECT_TRUE(std::filesystem::exists(directory_.curve() / "curve.log.replaced-2"));
}

TEST_F(Restoring, ARecordOfANewerKibanIsNoDamageAndIsLeftAlone) {
    write_record(20);
    const auto file = directory_.curve() / "curve.log";
    std::string content = monitoring::read_text(file);
    content[8] = 9;  // the version
    const std::uint32_t crc = monitoring::crc32c(std::as_bytes(std::span(content).first(12)));
    std::memcpy(content.data() + 12, &crc, sizeof(crc));
    std::ofstream(file, std::ios::binary) << content;
    EXPECT_THROW(restore_curve(directory_, newest_), IoError);
    EXPECT_EQ(monitoring::read_text(file), content);
}

TEST_F(Restoring, ADamagedRecordIsReplaced) {
    write_record(20);
    checkpoint::testing::flip_bit(directory_.curve() / "curve.log", 200, 3);
    EXPECT_NE(restore_curve(directory_, newest_).reason.find("is damaged at byte"), std::string::npos);
    expect_curve_of(12);
}

TEST_F(Restoring, ARecordThatReachesTheCheckpointIsLeftAlone) {
    for (const std::uint64_t last : {12U, 20U}) {
        std::filesystem::remove_all(directory_.curve());
        write_record(last);
        EXPECT_EQ(restore_curve(directory_, newest_).reason, "");
        expect_curve_of(last);
    }
}

TEST_F(Restoring, ADamagedCopyRestoresNothingAndADamagedRecordThenStopsTheRun) {
    checkpoint::testing::flip_bit(newest_.directory / "curve.h5", 20, 3);
    const CurveRestoration nothing = restore_curve(directory_, newest_);
    EXPECT_FALSE(nothing.restored);
    EXPECT_EQ(nothing.reason, "it holds no step") << "the hole is told";
    write_record(20);
    checkpoint::testing::flip_bit(directory_.curve() / "curve.log", 200, 3);
    EXPECT_THROW(restore_curve(directory_, newest_), IoError);
}

class UpkeepOfARun : public ::testing::Test {
  protected:
    UpkeepOfARun() : directory_(scratch_.path()) {}

    static monitoring::RunIdentity identity() {
        monitoring::RunIdentity identity;
        identity.run = "r";
        return identity;
    }

    Scratch scratch_;
    RunDirectory directory_;
    Board board_{directory_, identity(), ""};
    checkpoint::CheckpointConfig config_{.interval_steps = {}, .promote_after_steps = 5, .scrub_interval_hours = 0};
};

TEST_F(UpkeepOfARun, PromotesTheNewestCheckpointWithEnoughHealthyStepsAfterIt) {
    for (const std::uint64_t step : {0U, 10U, 20U}) write_checkpoint({scratch_.path(), step});
    Upkeep upkeep(directory_, config_, board_);
    upkeep.tick(curve_rows(4));
    EXPECT_TRUE(checkpoint::promoted_checkpoints(scratch_.path()).empty());
    upkeep.tick(curve_rows(16));
    upkeep.tick(curve_rows(24));
    EXPECT_EQ(checkpoint::promoted_checkpoints(scratch_.path()), std::vector<std::string>{"step-000000000010-a000001"});
    upkeep.tick(curve_rows(25));
    EXPECT_EQ(checkpoint::promoted_checkpoints(scratch_.path()).back(), "step-000000000020-a000001");
    const auto events = read_journal(directory_.journal());
    ASSERT_EQ(events.size(), 2U);
    EXPECT_EQ(events[1].at("event"), "checkpoint_promoted");
    EXPECT_EQ(events[1].at("step"), 20);
    EXPECT_NE(board_.metrics().text().find("kiban_checkpoint_promoted_step{run=\"r\"} 20"), std::string::npos);
}

TEST_F(UpkeepOfARun, NeverPromotesWhatALossThatIsNotFiniteFollowed) {
    write_checkpoint({scratch_.path(), 10});
    auto rows = curve_rows(30);
    rows[11].loss = kInfinity;
    Upkeep upkeep(directory_, config_, board_);
    upkeep.tick(rows);
    EXPECT_TRUE(checkpoint::promoted_checkpoints(scratch_.path()).empty());
}

TEST_F(UpkeepOfARun, NeverPromotesWhatARefusedStepFollowed) {
    write_checkpoint({scratch_.path(), 10});
    Upkeep upkeep(directory_, config_, board_);
    upkeep.set_refused_steps({10, 13, 99});
    upkeep.tick(curve_rows(30));
    EXPECT_TRUE(checkpoint::promoted_checkpoints(scratch_.path()).empty());
    upkeep.set_refused_steps({10, 16});  // the step itself came before; the sixth after it proves nothing
    upkeep.tick(curve_rows(31));
    EXPECT_EQ(checkpoint::promoted_checkpoints(scratch_.path()).size(), 1U);
}

TEST_F(UpkeepOfARun, RejectsAndTellsWhatTheScrubFinds) {
    write_checkpoint({scratch_.path(), 10});
    const auto rotten = write_checkpoint({scratch_.path(), 20});
    checkpoint::testing::flip_bit(rotten.directory / "shard-00000.h5", 50, 2);
    config_.scrub_interval_hours = 1e-6;
    Upkeep upkeep(directory_, config_, board_);
    for (int i = 0; i < 6000 && checkpoint::list_checkpoints(scratch_.path()).size() == 2; ++i) {
        upkeep.tick({});
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(checkpoint::newest_checkpoint(scratch_.path())->step, 10U);
    EXPECT_EQ(read_journal(directory_.journal()).back().at("event"), "checkpoint_rejected");
    const std::string metrics = board_.metrics().text();
    EXPECT_NE(metrics.find("kiban_checkpoint_rejects_total{run=\"r\",cause=\"scrub\"} 1"), std::string::npos)
        << metrics;
}

// As NFS does while somebody has a file of it open.
TEST(Trash, WhatCannotBeDeletedYetEndsNoAttempt) {
    struct Busy : testing::ModelFileSystem {
        int unlink(const path& name) override { return is_busy ? -EBUSY : ModelFileSystem::unlink(name); }
        bool is_busy = true;
    } files;
    const monitoring::FileSystemInUse in_use(files);
    const std::filesystem::path trash = "/run/ckpt/.trash";
    for (const char* name : {"first.1", "second.2"}) {
        monitoring::make_directories(trash / name);
        monitoring::File::create(trash / name / "shard-00000.h5").close();
    }
    EXPECT_NO_THROW(checkpoint::sweep_staging("/run"));
    EXPECT_EQ(monitoring::names_in(trash).size(), 2U);
    files.is_busy = false;
    checkpoint::sweep_staging("/run");
    EXPECT_EQ(monitoring::names_in(trash).size(), 0U);
}

TEST(LeaseOnAForgettingDisk, AnEpochThatWasTakenIsNeverTakenAgain) {
    using namespace kiban::testing;
    ModelFileSystem files;
    const Trace trace = [&] {
        const monitoring::FileSystemInUse in_use(files);
        monitoring::make_directories("/run");
        Lease lease = Lease::acquire("/run");
        for (int i = 0; i < 3; ++i) {
            files.note("holds " + std::to_string(lease.attempt()));
            lease.next_attempt();
        }
        files.note("holds " + std::to_string(lease.attempt()));
        return files.trace();
    }();
    std::size_t disks = 0;
    std::uint32_t held = 0;
    for (std::size_t operations = 0; operations <= trace.size(); ++operations) {
        if (operations > 0 && trace[operations - 1].text.starts_with("holds "))
            held = static_cast<std::uint32_t>(std::stoul(trace[operations - 1].text.substr(6)));
        disks += for_each_disk_after_crash(trace, operations, 64, [&](const FileTree& disk) {
            ModelFileSystem after(disk);
            const monitoring::FileSystemInUse in_use(after);
            ASSERT_GE(lease_owner("/run").epoch, held) << "after " << operations << " operations";
        });
    }
    EXPECT_EQ(held, 4U);
    EXPECT_GT(disks, trace.size());
}

}  // namespace
}  // namespace kiban::coordinator
