// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/commit.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "checkpoint/commit_record.h"
#include "checkpoint/manifest.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;
using testing::entries_in;
using testing::Save;
using testing::Scratch;
using testing::write_checkpoint;

std::vector<std::string> names_of(const std::vector<CheckpointInfo>& infos) {
    std::vector<std::string> names;
    for (const CheckpointInfo& info : infos) names.push_back(info.directory.filename().string());
    return names;
}

std::vector<std::string> listed(const fs::path& run_dir) { return names_of(list_checkpoints(run_dir)); }

// A staged save, so that a test can spoil it before the commit.
struct Staged {
    explicit Staged(Save what)
        : save(std::move(what)), staging(begin_checkpoint(save.run_dir, save.step, save.attempt, 0)) {
        shards = testing::write_shards(save, staging);
        state = to_json(testing::state_of(save));
    }
    CheckpointInfo commit(const std::function<bool()>& is_current = [] { return true; }) const {
        return commit_checkpoint(save.run_dir, staging, save.step, save.attempt, shards, state, is_current);
    }
    std::string refusal() const {
        return message_of<CheckpointError>([this] { commit(); });
    }

    Save save;
    fs::path staging;
    std::vector<ShardReport> shards;
    nlohmann::json state;
};

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Commit, MakesADirectoryOfShardsManifestAndRecordUnderItsFinalName) {
    const Scratch scratch;
    const Staged staged({scratch.path(), 12000, 7, 3});
    EXPECT_EQ(staged.staging.parent_path(), scratch.path() / "ckpt" / ".staging");
    EXPECT_TRUE(listed(scratch.path()).empty());  // not visible before the commit
    const CheckpointInfo info = staged.commit();
    EXPECT_EQ(info.directory, scratch.path() / "ckpt" / "step-000000012000-a000007");
    EXPECT_EQ(info.step, 12000U);
    EXPECT_EQ(info.attempt, 7U);
    EXPECT_FALSE(fs::exists(staged.staging));
    EXPECT_EQ(entries_in(info.directory), 5U);  // writers + 2
    EXPECT_EQ(quick_fault(info.directory), std::nullopt);
    const auto newest = newest_checkpoint(scratch.path());
    ASSERT_TRUE(newest);
    EXPECT_EQ(newest->directory, info.directory);
    EXPECT_EQ(newest->bytes, info.bytes);
}

TEST(Commit, AnAttemptOvertakenBeforeOrWhilePublishingMakesNothingVisible) {
    const Scratch scratch;
    for (int last_time = 0, asked = 0; last_time < 2; ++last_time, asked = 0) {
        const Staged staged({scratch.path(), 5, 3});
        EXPECT_EQ(message_of<CheckpointError>([&] { staged.commit([&] { return ++asked <= last_time; }); }),
                  "cannot commit step-000000000005-a000003: a newer attempt than 3 has taken over run '" +
                      scratch.path().string() + "'; this one must stop");
        EXPECT_TRUE(listed(scratch.path()).empty());
        EXPECT_EQ(fs::exists(staged.staging / "COMMIT"), last_time == 1);
    }
}

TEST(Commit, AGapIsRefusedNamingTheTensor) {
    const Scratch scratch;
    Staged staged({scratch.path(), 5});
    std::erase_if(staged.shards[1].boxes, [](const StoredBox& box) {
        return box.tensor.id == TensorId{"norm.weight", "exp_avg"};
    });
    EXPECT_EQ(staged.refusal(),
              "cannot use the shards of step 5: tensor 'norm.weight' (exp_avg) is not stored exactly once: the boxes "
              "cover 7 of the 13 elements of shape [13]");
    EXPECT_TRUE(listed(scratch.path()).empty());
}

TEST(Commit, AnOverlapIsRefusedNamingTheTensor) {
    const Scratch scratch;
    Staged staged({scratch.path(), 5, 1, 2,
                   [](const TensorInfo& tensor, int, int) { return std::vector<Box>{whole(tensor.shape)}; }});
    EXPECT_TRUE(contains(staged.refusal(), "is not stored exactly once: ")) << staged.refusal();
    EXPECT_TRUE(listed(scratch.path()).empty());
}

TEST(Commit, AShardThatWasNotReportedIsNoticed) {
    const Scratch scratch;
    Staged staged({scratch.path(), 5, 1, 3});
    staged.shards.pop_back();
    EXPECT_TRUE(contains(staged.refusal(), "is not stored exactly once")) << staged.refusal();
    staged.shards.clear();
    EXPECT_EQ(staged.refusal(), "cannot commit step 5: no shard was reported");
}

TEST(Commit, AFileThatIsMissingShortOrStrangeIsNoticed) {
    const Scratch scratch;
    const Staged staged({scratch.path(), 5});
    const fs::path shard = staged.staging / "shard-00001.h5";
    const auto bytes = fs::file_size(shard);
    fs::resize_file(shard, bytes - 1);
    EXPECT_EQ(staged.refusal(), "cannot trust checkpoint '" + staged.staging.string() +
                                    "': file 'shard-00001.h5' has " + std::to_string(bytes - 1) + " bytes, expected " +
                                    std::to_string(bytes));
    fs::remove(shard);
    EXPECT_EQ(staged.refusal(),
              "cannot trust checkpoint '" + staged.staging.string() + "': file 'shard-00001.h5' is missing");
    fs::create_symlink("/dev/zero", shard);
    EXPECT_TRUE(contains(staged.refusal(), "file 'shard-00001.h5' is missing"));
    fs::remove(shard);
    testing::put_text(shard, std::string(bytes, 'x'));
    testing::put_text(staged.staging / "shard-00002.h5", "");
    EXPECT_EQ(staged.refusal(),
              "cannot trust checkpoint '" + staged.staging.string() + "': 'shard-00002.h5' does not belong to it");
    EXPECT_TRUE(listed(scratch.path()).empty());
}

TEST(Commit, ReportsThatContradictEachOtherOrTheFilesAreRefused) {
    const Scratch scratch;
    const Staged good({scratch.path(), 5});
    const auto refusal = [&](const std::function<void(std::vector<ShardReport>&)>& change) {
        Staged staged = good;
        change(staged.shards);
        return staged.refusal();
    };
    using Shards = std::vector<ShardReport>;
    EXPECT_TRUE(contains(refusal([](Shards& s) {
                             s[1].boxes[0].tensor.shape = {12, 6};
                         }),
                         "but f32 [11,6] in another shard"));
    EXPECT_TRUE(contains(refusal([](Shards& s) { s[1].boxes[0].tensor.dtype = DType::i64; }),
                         "is i64 [11,6] in 'shard-00001.h5', but f32"));
    EXPECT_TRUE(
        contains(refusal([](Shards& s) { s[1].file = "shard-00000.h5"; }), "file 'shard-00000.h5' is listed twice"));
    EXPECT_TRUE(contains(refusal([](Shards& s) { s[1].boxes[0].file_offset = s[1].bytes - 1; }), " from offset "));
    EXPECT_TRUE(
        contains(refusal([](Shards& s) { s[1].block_crcs.clear(); }), "has 1 blocks of 4194304 bytes, found 0 CRCs"));
    for (const char* name :
         {"../shard-00001.h5", "/etc/shard-1.h5", "shard-/../x.h5", "COMMIT", "", "shard-00001.h5/", "SHARD-1.h5"}) {
        EXPECT_TRUE(contains(refusal([&](Shards& s) { s[1].file = name; }),
                             "expected a file name such as shard-00000.h5, found '"))
            << name;
    }
    EXPECT_TRUE(listed(scratch.path()).empty());
    EXPECT_NO_THROW(good.commit());
}

TEST(Commit, AStateThatIsNoneOrOfAnotherStepIsRefused) {
    const Scratch scratch;
    Staged staged({scratch.path(), 5});
    staged.state["step"] = 6;
    EXPECT_EQ(staged.refusal(), "cannot commit step 5: the run state is that of step 6");
    staged.state = nlohmann::json::array();
    EXPECT_EQ(staged.refusal(), "cannot commit step 5: expected the run state as an object");
    staged.state = {{"run_file", "\xFF not UTF-8"}};
    EXPECT_TRUE(contains(staged.refusal(), "cannot write MANIFEST.json: expected UTF-8 text"));
    EXPECT_TRUE(listed(scratch.path()).empty());
}

TEST(Commit, NeverReplacesACheckpointAndNeverTakesAnotherStaging) {
    const Scratch scratch;
    write_checkpoint({scratch.path(), 5});
    const Staged again({scratch.path(), 5});
    EXPECT_TRUE(contains(again.refusal(), "exists already; save again in a new attempt"));
    Staged other({scratch.path(), 6});
    other.staging = again.staging;
    EXPECT_TRUE(contains(other.refusal(), "is not a staging directory of it"));
    other.staging = scratch.path() / "ckpt" / ".staging" / "step-000000000006-a000001-gone";
    EXPECT_TRUE(contains(other.refusal(), "is gone"));
    EXPECT_EQ(listed(scratch.path()), std::vector<std::string>{"step-000000000005-a000001"});
}

TEST(Commit, ARejectedNameIsNotUsedAgain) {
    const Scratch scratch;
    const auto info = write_checkpoint({scratch.path(), 5});
    reject_checkpoint(scratch.path(), info, "a test");
    fs::remove_all(info.directory);
    EXPECT_TRUE(contains(Staged({scratch.path(), 5}).refusal(), "a checkpoint of that name was rejected"));
}

TEST(Begin, Row06TooLittleSpaceIsNoticedBeforeAnythingIsWritten) {
    const Scratch scratch;
    for (const std::uint64_t needed : {std::uint64_t{1} << 60, UINT64_MAX}) {
        const std::string message = message_of<IoError>([&] { begin_checkpoint(scratch.path(), 5, 1, needed); });
        EXPECT_TRUE(
            contains(message, "cannot save step 5: " + std::to_string(needed) + " bytes and 10 % are needed under '"))
            << message;
        EXPECT_TRUE(contains(message, " bytes are free; make room or lower checkpoint.keep")) << message;
    }
    EXPECT_EQ(entries_in(scratch.path() / "ckpt" / ".staging"), 0U);
}

TEST(Begin, TwoSavesOfOneStepNeverShareADirectory) {
    const Scratch scratch;
    EXPECT_NE(begin_checkpoint(scratch.path(), 5, 1, 0), begin_checkpoint(scratch.path(), 5, 1, 0));
}

TEST(Abandon, LeavesNothingBehindAndForgivesAMissingDirectory) {
    const Scratch scratch;
    const Staged staged({scratch.path(), 5});
    abandon_checkpoint(staged.staging);
    EXPECT_EQ(entries_in(scratch.path() / "ckpt" / ".staging"), 0U);
    EXPECT_EQ(entries_in(scratch.path() / "ckpt" / ".trash"), 0U);
    EXPECT_NO_THROW(abandon_checkpoint(staged.staging));
    const auto info = write_checkpoint({scratch.path(), 6});
    EXPECT_THROW(abandon_checkpoint(info.directory), InternalError);  // only ever a staging directory
    EXPECT_EQ(quick_fault(info.directory), std::nullopt);
}

TEST(List, IsByStepThenAttemptWhateverTheOrderOfWriting) {
    const Scratch scratch;
    for (const auto& [step, attempt] :
         std::vector<std::pair<std::uint64_t, std::uint32_t>>{{20, 1}, {0, 1}, {10, 2}, {20, 3}, {10, 1}}) {
        write_checkpoint({scratch.path(), step, attempt});
    }
    EXPECT_EQ(
        listed(scratch.path()),
        (std::vector<std::string>{"step-000000000020-a000003", "step-000000000020-a000001", "step-000000000010-a000002",
                                  "step-000000000010-a000001", "step-000000000000-a000001"}));
}

TEST(List, IgnoresEveryNameThatIsNotExactlyOne) {
    const Scratch scratch;
    const auto info = write_checkpoint({scratch.path(), 5});
    for (const char* name :
         {"step-5-a1", "step-000000000009-a000001.bak", "step-000000000009", "latest", "step-000000000009-a000001-0123",
          ".step-000000000009-a000001", "step--00000000009-a000001", "step-+00000000009-a000001",
          "step-99999999999999999999999-a000001", "step-000000000009-a99999999999", "step-0000000000009-a000001"}) {
        fs::create_directory(scratch.path() / "ckpt" / name);
    }
    testing::put_text(scratch.path() / "ckpt" / "step-000000000010-a000001", "a file");
    EXPECT_EQ(listed(scratch.path()), std::vector<std::string>{"step-000000000005-a000001"});
    EXPECT_EQ(newest_checkpoint(scratch.path())->directory, info.directory);
    EXPECT_TRUE(list_checkpoints(scratch.path() / "no-such-run").empty());
}

TEST(List, NamesOfVeryLateStepsAndAttemptsStaySortedByNumber) {
    EXPECT_EQ((CheckpointName{UINT64_MAX, UINT32_MAX}.text()), "step-18446744073709551615-a4294967295");
    EXPECT_EQ((CheckpointName::parse("step-18446744073709551615-a4294967295")),
              (CheckpointName{UINT64_MAX, UINT32_MAX}));
    EXPECT_EQ(CheckpointName::parse("step-18446744073709551616-a000001"), std::nullopt);
    EXPECT_LT((CheckpointName{999999999999, 1}), (CheckpointName{1000000000000, 1}));
}

TEST(Newest, ThereIsNoneInARunThatNeverSaved) {
    const Scratch scratch;
    EXPECT_EQ(newest_checkpoint(scratch.path()).has_value(), false);
    begin_checkpoint(scratch.path(), 5, 1, 0);  // died before its first commit
    EXPECT_EQ(newest_checkpoint(scratch.path()).has_value(), false);
}

TEST(Newest, FallsBackPastDamageAndRecordsWhy) {
    const Scratch scratch;
    write_checkpoint({scratch.path(), 1});
    write_checkpoint({scratch.path(), 2});
    const auto damaged = write_checkpoint({scratch.path(), 3});
    fs::resize_file(damaged.directory / "COMMIT", 0);
    EXPECT_EQ(newest_checkpoint(scratch.path())->step, 2U);
    EXPECT_EQ(listed(scratch.path()),
              (std::vector<std::string>{"step-000000000002-a000001", "step-000000000001-a000001"}));
    const std::string record = monitoring::read_text(scratch.path() / "ckpt" / "rejected.jsonl");
    EXPECT_TRUE(contains(record, "\"checkpoint\":\"step-000000000003-a000001\"")) << record;
    EXPECT_TRUE(contains(record, "its COMMIT of 0 bytes is not a commit record")) << record;
    EXPECT_EQ(newest_checkpoint(scratch.path())->step, 2U);
    EXPECT_EQ(monitoring::read_text(scratch.path() / "ckpt" / "rejected.jsonl"), record);  // once is enough
}

TEST(Newest, NeverStartsOverWhenThereWereCheckpointsAndNoneIsGood) {
    const Scratch scratch;
    for (const std::uint64_t step : {1U, 2U})
        fs::remove(write_checkpoint({scratch.path(), step}).directory / "MANIFEST.json");
    for (int round = 0; round < 2; ++round) {  // also when all were rejected before
        const std::string message = message_of<CheckpointError>([&] { newest_checkpoint(scratch.path()); });
        EXPECT_EQ(message, "no checkpoint of run '" + scratch.path().string() +
                               "' can be trusted: 2 were rejected (reasons in '" +
                               (scratch.path() / "ckpt" / "rejected.jsonl").string() +
                               "'); repair one, or start over with --fresh");
    }
}

TEST(Newest, ALineThatACrashCutShortDoesNotSpoilTheRecordsAroundIt) {
    const Scratch scratch;
    const auto one = write_checkpoint({scratch.path(), 1});
    const auto two = write_checkpoint({scratch.path(), 2});
    const auto three = write_checkpoint({scratch.path(), 3});
    reject_checkpoint(scratch.path(), three, "first");
    const fs::path file = scratch.path() / "ckpt" / "rejected.jsonl";
    testing::put_text(file, monitoring::read_text(file) + "{\"checkpoint\":\"step-000000000001-a0000");
    reject_checkpoint(scratch.path(), two, "bytes that are not UTF-8: \xFF");
    EXPECT_EQ(listed(scratch.path()), std::vector<std::string>{"step-000000000001-a000001"});
    EXPECT_EQ(newest_checkpoint(scratch.path())->directory, one.directory);
}

TEST(Newest, Row27ACheckpointOfANewerKibanIsRefusedByNameNotPassedOverNorRejected) {
    const Scratch scratch;
    write_checkpoint({scratch.path(), 1});
    const auto newer = write_checkpoint({scratch.path(), 2});
    std::string record = monitoring::read_text(newer.directory / "COMMIT");
    record[8] = 3;
    record += "fields of the future";
    testing::put_text(newer.directory / "COMMIT", record);
    EXPECT_EQ(message_of<CheckpointError>([&] { newest_checkpoint(scratch.path()); }),
              "cannot read checkpoint '" + newer.directory.string() +
                  "': it has format version 3, this Kiban reads up to 2; use a newer Kiban");
    EXPECT_FALSE(fs::exists(scratch.path() / "ckpt" / "rejected.jsonl"));
    EXPECT_EQ(listed(scratch.path()).size(), 2U);
}

TEST(Retention, Row24KeepsTheNewestAndNeverFewerThanTwo) {
    const Scratch scratch;
    for (std::uint64_t step = 0; step < 6; ++step) write_checkpoint({scratch.path(), step});
    apply_retention(scratch.path(), 3);
    EXPECT_EQ(listed(scratch.path()),
              (std::vector<std::string>{"step-000000000005-a000001", "step-000000000004-a000001",
                                        "step-000000000003-a000001"}));
    apply_retention(scratch.path(), 0);
    EXPECT_EQ(listed(scratch.path()),
              (std::vector<std::string>{"step-000000000005-a000001", "step-000000000004-a000001"}));
    EXPECT_EQ(entries_in(scratch.path() / "ckpt" / ".trash"), 0U);
    for (const auto& info : list_checkpoints(scratch.path()))
        EXPECT_EQ(verify_checkpoint(info.directory).faults, std::vector<std::string>{});
}

TEST(Retention, DamagedAndRejectedOnesDoNotCountAsKept) {
    const Scratch scratch;
    std::vector<CheckpointInfo> infos;
    for (std::uint64_t step = 0; step < 6; ++step) infos.push_back(write_checkpoint({scratch.path(), step}));
    fs::remove(infos[5].directory / "shard-00000.h5");
    reject_checkpoint(scratch.path(), infos[3], "a test");
    apply_retention(scratch.path(), 2);
    EXPECT_EQ(listed(scratch.path()),
              (std::vector<std::string>{"step-000000000005-a000001", "step-000000000004-a000001",
                                        "step-000000000002-a000001"}));
    EXPECT_EQ(newest_checkpoint(scratch.path())->step, 4U);
}

TEST(Retention, SweepsStagingOfOlderSavesButNotOfALaterOne) {
    const Scratch scratch;
    const fs::path older = begin_checkpoint(scratch.path(), 3, 2, 0);
    const fs::path dead = begin_checkpoint(scratch.path(), 9, 1, 0);
    const fs::path later = begin_checkpoint(scratch.path(), 6, 2, 0);
    write_checkpoint({scratch.path(), 5, 2});
    apply_retention(scratch.path(), 2);
    EXPECT_FALSE(fs::exists(older));
    EXPECT_FALSE(fs::exists(dead));
    EXPECT_TRUE(fs::exists(later));
}

TEST(Sweep, RemovesWhatDeadAttemptsLeftAndNothingElse) {
    const Scratch scratch;
    const auto info = write_checkpoint({scratch.path(), 1});
    const Staged staged({scratch.path(), 2});
    fs::create_directories(scratch.path() / "ckpt" / ".staging" / "some garbage" / "deep");
    fs::create_directories(scratch.path() / "ckpt" / ".trash" / "half deleted");
    sweep_staging(scratch.path());
    EXPECT_EQ(entries_in(scratch.path() / "ckpt" / ".staging"), 0U);
    EXPECT_EQ(entries_in(scratch.path() / "ckpt" / ".trash"), 0U);
    EXPECT_EQ(verify_checkpoint(info.directory).faults, std::vector<std::string>{});
    EXPECT_NO_THROW(sweep_staging(scratch.path() / "never-saved"));
    EXPECT_FALSE(fs::exists(scratch.path() / "never-saved"));
}

TEST(Sweep, Row03AnOrphanThatStillWritesCannotReachACheckpoint) {
    const Scratch scratch;
    const Save save{scratch.path(), 2};
    const Staged staged(save);
    sweep_staging(scratch.path());
    EXPECT_TRUE(
        contains(message_of<IoError>([&] { testing::write_shards(save, staged.staging); }), staged.staging.string()));
    EXPECT_TRUE(contains(staged.refusal(), "is gone"));
}

}  // namespace
}  // namespace kiban::checkpoint
