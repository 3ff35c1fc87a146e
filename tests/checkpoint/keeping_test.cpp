// SPDX-License-Identifier: Apache-2.0
// Which checkpoints stay: promotion, pins, milestones; and what becomes of damaged ones: repair and scrub.
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "checkpoint/commit.h"
#include "checkpoint/reader.h"
#include "checkpoint/repair.h"
#include "checkpoint/run_layout.h"
#include "checkpoint/scrub.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/file_system.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;
using testing::Scratch;

CheckpointInfo write(const Scratch& scratch, std::uint64_t step) {
    return testing::write_checkpoint({scratch.path(), step, 1, 1, testing::flat_layout, testing::tiny_model()});
}

std::vector<std::uint64_t> steps_left(const Scratch& scratch) {
    std::vector<std::uint64_t> steps;
    for (const auto& info : list_checkpoints(scratch.path())) steps.push_back(info.step);
    return steps;
}

using Steps = std::vector<std::uint64_t>;

TEST(Keeping, TheNewestPromotedOneAndTheSoundOneBeforeItStay) {
    const Scratch scratch;
    std::vector<CheckpointInfo> infos;
    for (std::uint64_t step = 0; step < 80; step += 10) infos.push_back(write(scratch, step));
    promote_checkpoint(scratch.path(), infos[1], 100);
    promote_checkpoint(scratch.path(), infos[4], 100);
    fs::remove(infos[3].directory / "MANIFEST.json");  // the one before it is not sound
    EXPECT_EQ(promoted_checkpoints(scratch.path()),
              (std::vector<std::string>{"step-000000000010-a000001", "step-000000000040-a000001"}));
    apply_retention(scratch.path(), 2);
    EXPECT_EQ(steps_left(scratch), (Steps{70, 60, 40, 20}));
}

TEST(Keeping, ARejectedPromotedOneDoesNotCount) {
    const Scratch scratch;
    std::vector<CheckpointInfo> infos;
    for (std::uint64_t step = 0; step < 60; step += 10) infos.push_back(write(scratch, step));
    promote_checkpoint(scratch.path(), infos[1], 100);
    promote_checkpoint(scratch.path(), infos[3], 100);
    reject_checkpoint(scratch.path(), infos[3], "a test");
    apply_retention(scratch.path(), 2);
    EXPECT_EQ(steps_left(scratch), (Steps{50, 40, 10, 0}));
}

TEST(Keeping, PinnedOnesStayUntilTheyAreReleased) {
    const Scratch scratch;
    std::vector<CheckpointInfo> infos;
    for (std::uint64_t step = 0; step < 5; ++step) infos.push_back(write(scratch, step));
    pin_checkpoint(scratch.path(), infos[0], true);
    pin_checkpoint(scratch.path(), infos[1], true);
    apply_retention(scratch.path(), 2);
    EXPECT_EQ(steps_left(scratch), (Steps{4, 3, 1, 0}));
    pin_checkpoint(scratch.path(), infos[1], false);
    EXPECT_EQ(pinned_checkpoints(scratch.path()), std::vector<std::string>{"step-000000000000-a000001"});
    apply_retention(scratch.path(), 2);
    EXPECT_EQ(steps_left(scratch), (Steps{4, 3, 0}));
    EXPECT_NE(message_of<CheckpointError>([&] {
                  pin_checkpoint(scratch.path(), infos[1], true);
              }).find("it is not there any more"),
              std::string::npos);
}

TEST(Retention, Row24NeverRemovesTheOneThatIsReadAndTakesItAfterwards) {
    const Scratch scratch;
    for (std::uint64_t step = 0; step < 5; ++step) write(scratch, step);
    std::vector<std::string> read = {"step-000000000001-a000001"};
    const RetentionRule rule = {.keep = 2, .milestone_steps = 0, .in_use = [&read] { return read; }};
    const CheckpointReader reader(scratch.path() / "ckpt" / read.front());  // open, nothing read yet
    apply_retention(scratch.path(), rule);
    EXPECT_EQ(steps_left(scratch), (Steps{4, 3, 1}));
    EXPECT_EQ(testing::wrong_tensors(reader, testing::tiny_model(), testing::flat_layout, 3),
              std::vector<std::string>{});
    read.clear();
    apply_retention(scratch.path(), rule);
    EXPECT_EQ(steps_left(scratch), (Steps{4, 3}));
}

TEST(Retention, Row24LeavesTheOneThatSomebodyBeginsToReadJustAsItGoes) {
    const Scratch scratch;
    for (std::uint64_t step = 0; step < 4; ++step) write(scratch, step);
    int asked = 0;  // once for all, and twice for each that goes: of step 1 the second time, when its name is gone
    const RetentionRule rule = {.keep = 2, .milestone_steps = 0, .in_use = [&asked] {
                                    return ++asked == 3 ? std::vector<std::string>{"step-000000000001-a000001"}
                                                        : std::vector<std::string>{};
                                }};
    apply_retention(scratch.path(), rule);
    EXPECT_EQ(asked, 5);
    EXPECT_EQ(steps_left(scratch), (Steps{3, 2, 1}));
    EXPECT_EQ(verify_checkpoint(list_checkpoints(scratch.path()).back().directory).faults, std::vector<std::string>{});
}

TEST(Keeping, TheOldestOfEachMilestoneStays) {
    const Scratch scratch;
    for (const std::uint64_t step : {0U, 40U, 90U, 110U, 150U, 199U, 230U, 260U, 410U, 420U, 430U}) {
        write(scratch, step);
        apply_retention(scratch.path(), {2, 100});
    }
    EXPECT_EQ(steps_left(scratch), (Steps{430, 420, 410, 230, 110}));
}

TEST(Keeping, IsTheSameHoweverOftenItIsAsked) {
    const Scratch scratch;
    std::vector<CheckpointInfo> infos;
    for (std::uint64_t step = 0; step < 100; step += 10) infos.push_back(write(scratch, step));
    promote_checkpoint(scratch.path(), infos[5], 100);
    apply_retention(scratch.path(), {2, 30});
    const Steps once = steps_left(scratch);
    EXPECT_EQ(once, (Steps{90, 80, 60, 50, 40, 30}));
    for (int i = 0; i < 3; ++i) apply_retention(scratch.path(), {2, 30});
    EXPECT_EQ(steps_left(scratch), once);
}

TEST(Repair, OnlyReportsUnlessItIsToldToDrop) {
    const Scratch scratch;
    write(scratch, 1);
    const auto damaged = write(scratch, 2);
    write(scratch, 3);
    testing::flip_bit(damaged.directory / "shard-00000.h5", 100, 1);
    const RepairResult report = repair_checkpoints(scratch.path(), false);
    ASSERT_EQ(report.damaged.size(), 1U);
    EXPECT_EQ(report.damaged[0].checkpoint.step, 2U);
    EXPECT_TRUE(report.damaged[0].moved_to.empty());
    EXPECT_EQ(report.sound.size(), 2U);
    EXPECT_EQ(steps_left(scratch), (Steps{3, 2, 1}));
    EXPECT_FALSE(fs::exists(scratch.path() / "ckpt" / "rejected.jsonl"));
}

TEST(Repair, MovesDamagedOnesAsideWithARecordAndDeletesNothing) {
    const Scratch scratch;
    write(scratch, 1);
    const auto damaged = write(scratch, 2);
    testing::flip_bit(damaged.directory / "curve.h5", 100, 1);
    const RepairResult report = repair_checkpoints(scratch.path(), true);
    ASSERT_EQ(report.damaged.size(), 1U);
    EXPECT_TRUE(fs::exists(report.damaged[0].moved_to / "curve.h5"));
    EXPECT_FALSE(fs::exists(damaged.directory));
    EXPECT_EQ(newest_checkpoint(scratch.path())->step, 1U);
    const std::string record = monitoring::read_text(scratch.path() / "ckpt" / "rejected.jsonl");
    EXPECT_NE(record.find("curve.h5' is damaged"), std::string::npos) << record;
    EXPECT_TRUE(repair_checkpoints(scratch.path(), true).damaged.empty());
    sweep_staging(scratch.path());
    apply_retention(scratch.path(), 2);
    EXPECT_TRUE(fs::exists(report.damaged[0].moved_to));
}

TEST(Repair, LeavesEverythingWhereItIsWhenNoSoundOneWouldRemain) {
    const Scratch scratch;
    for (const std::uint64_t step : {1U, 2U})
        testing::flip_bit(write(scratch, step).directory / "shard-00000.h5", 100, 1);
    const RepairResult report = repair_checkpoints(scratch.path(), true);
    EXPECT_EQ(report.damaged.size(), 2U);
    EXPECT_TRUE(report.sound.empty());
    EXPECT_EQ(steps_left(scratch), (Steps{2, 1}));
}

// Waits for the end of a pass that began after now.
void wait_for_a_pass(const Scrub& scrub) {
    const std::uint64_t passes = scrub.passes();
    const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (scrub.passes() < passes + 2 && std::chrono::steady_clock::now() < patience)
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    ASSERT_GE(scrub.passes(), passes + 2);
}

TEST(Scrub, FindsWhatRottedAndReportsItOnce) {
    const Scratch scratch;
    write(scratch, 1);
    const auto rotting = write(scratch, 2);
    Scrub scrub({scratch.path(), 0.005, 1e12});
    wait_for_a_pass(scrub);
    EXPECT_TRUE(scrub.take_findings().empty());
    EXPECT_GT(scrub.bytes_read(), 0U);
    testing::flip_bit(rotting.directory / "shard-00000.h5", 100, 1);
    wait_for_a_pass(scrub);
    const auto findings = scrub.take_findings();
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].checkpoint.step, 2U);
    EXPECT_NE(findings[0].fault.find("shard-00000.h5' is damaged: block 0"), std::string::npos) << findings[0].fault;
    wait_for_a_pass(scrub);
    EXPECT_TRUE(scrub.take_findings().empty());
    EXPECT_EQ(steps_left(scratch), (Steps{2, 1}));  // rejecting is the owner's
}

TEST(Scrub, KeepsItsPaceAndEndsAtOnce) {
    const Scratch scratch;
    write(scratch, 1);
    const auto begin = std::chrono::steady_clock::now();
    {
        Scrub scrub({scratch.path(), 0.001, 1});  // a byte a second: hours for one block
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        EXPECT_LE(scrub.passes(), 1U);
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

TEST(Scrub, Row24RetentionUnderItIsNoDamage) {
    const Scratch scratch;
    Scrub scrub({scratch.path(), 0.0001, 1e12});
    for (std::uint64_t step = 0; step < 30; ++step) {
        write(scratch, step);
        apply_retention(scratch.path(), 2);
    }
    wait_for_a_pass(scrub);
    EXPECT_GT(scrub.bytes_read(), 0U);
    EXPECT_TRUE(scrub.take_findings().empty());
    EXPECT_EQ(steps_left(scratch), (Steps{29, 28}));
}

TEST(Scrub, BeginsEarlierWhereTheLastPassIsLongAgoAndAFindingThatIsPutBackComesAgain) {
    const Scratch scratch;
    const auto rotten = write(scratch, 1);
    testing::flip_bit(rotten.directory / "shard-00000.h5", 100, 1);
    Scrub scrub(
        {.run_dir = scratch.path(), .interval_seconds = 3600, .bytes_per_second = 1e12, .first_after_seconds = 0});
    const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (scrub.passes() == 0 && std::chrono::steady_clock::now() < patience)
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    auto findings = scrub.take_findings();
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_TRUE(scrub.take_findings().empty());
    scrub.put_back(findings[0]);
    EXPECT_EQ(scrub.take_findings().size(), 1U);
}

// The real file system, but that what lies in one directory cannot be opened.
class RefusingFileSystem : public monitoring::FileSystem {
  public:
    explicit RefusingFileSystem(path directory) : directory_(std::move(directory)) {}

    int open(const path& name, int flags, unsigned mode) override {
        return name.parent_path() == directory_ ? -EIO : real_.open(name, flags, mode);
    }
    std::int64_t write(int file, std::span<const std::byte> bytes) override { return real_.write(file, bytes); }
    std::int64_t write_at(int file, std::uint64_t offset, std::span<const std::byte> bytes) override {
        return real_.write_at(file, offset, bytes);
    }
    std::int64_t read_at(int file, std::uint64_t offset, std::span<std::byte> bytes) override {
        return real_.read_at(file, offset, bytes);
    }
    int preallocate(int file, std::uint64_t bytes) override { return real_.preallocate(file, bytes); }
    int truncate(int file, std::uint64_t bytes) override { return real_.truncate(file, bytes); }
    int sync(int file) override { return real_.sync(file); }
    int close(int file) override { return real_.close(file); }
    std::int64_t size(int file) override { return real_.size(file); }
    int rename(const path& from, const path& to) override { return real_.rename(from, to); }
    int unlink(const path& name) override { return real_.unlink(name); }
    int make_directory(const path& name) override { return real_.make_directory(name); }
    int remove_directory(const path& name) override { return real_.remove_directory(name); }
    int sync_directory(const path& name) override { return real_.sync_directory(name); }
    int list(const path& name, std::vector<std::string>& names) override { return real_.list(name, names); }
    int status(const path& name, bool follow_links, monitoring::FileStatus& status) override {
        return real_.status(name, follow_links, status);
    }
    int free_bytes(const path& name, std::uint64_t& bytes) override { return real_.free_bytes(name, bytes); }

  private:
    path directory_;
    monitoring::FileSystem& real_ = monitoring::file_system();
};

TEST(Unreadable, IsNoDamageAndNeitherRetentionNorRepairTakesIt) {
    const Scratch scratch;
    const auto proven = write(scratch, 1);
    promote_checkpoint(scratch.path(), proven, 100);
    for (const std::uint64_t step : {2U, 3U, 4U, 5U}) write(scratch, step);
    RefusingFileSystem refusing(proven.directory);
    const monitoring::FileSystemInUse in_use(refusing);
    EXPECT_TRUE(verify_checkpoint(proven.directory).unreadable);
    const RepairResult repaired = repair_checkpoints(scratch.path(), /*drop=*/true);
    EXPECT_TRUE(repaired.damaged.empty());
    ASSERT_EQ(repaired.unreadable.size(), 1U);
    EXPECT_EQ(repaired.unreadable[0].checkpoint.step, 1U);
    apply_retention(scratch.path(), 2);
    EXPECT_EQ(steps_left(scratch), (Steps{5, 4, 1}));
}

TEST(Pinning, Row24WhileRetentionTakesACheckpointBringsItBack) {
    const Scratch scratch;
    const auto info = write(scratch, 1);
    int asked = 0;  // pinned between the look before and the look after
    throw_away_unless(scratch.path() / "ckpt", info.directory, [&] { return ++asked == 2; });
    EXPECT_EQ(asked, 2);
    EXPECT_TRUE(verify_checkpoint(info.directory).faults.empty());
    throw_away_unless(scratch.path() / "ckpt", info.directory, [] { return false; });
    EXPECT_TRUE(steps_left(scratch).empty());
}

}  // namespace
}  // namespace kiban::checkpoint
