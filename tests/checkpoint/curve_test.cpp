// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/curve.h"

#include <gtest/gtest.h>

#include "checkpoint/commit.h"
#include "checkpoint/commit_record.h"
#include "checkpoint/manifest.h"
#include "checkpoint/reader.h"
#include "monitoring/crc32c.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;
using testing::curve_rows;
using testing::curve_text;
using testing::Scratch;
using testing::write_checkpoint;

// As format 1 wrote it: no curve, and the version in both places.
fs::path checkpoint_of_version_1(const fs::path& run_dir) {
    const testing::Save save{run_dir, 3};
    const fs::path staging = begin_checkpoint(run_dir, 3, 1, 0);
    const auto shards = testing::write_shards(save, staging);
    const auto info =
        commit_checkpoint(run_dir, staging, 3, 1, shards, to_json(testing::state_of(save)), [] { return true; });
    nlohmann::json manifest = nlohmann::json::parse(monitoring::read_text(info.directory / "MANIFEST.json"));
    manifest["version"] = 1;
    const std::string text = manifest.dump();
    testing::put_text(info.directory / "MANIFEST.json", text);
    std::string record = encode(CommitRecord::of(text, 3, 1, read_commit_record(info.directory).shard_bytes));
    record[8] = 1;
    const std::uint32_t crc = monitoring::crc32c(std::as_bytes(std::span(record).first(112)));
    std::memcpy(record.data() + 112, &crc, sizeof crc);
    testing::put_text(info.directory / "COMMIT", record);
    return info.directory;
}

TEST(CheckpointCurve, HoldsEveryStepUpToTheCheckpointsBitForBit) {
    const Scratch scratch;
    const auto info = write_checkpoint({scratch.path(), 1000});
    const auto rows = read_curve_of(info.directory);
    ASSERT_TRUE(rows);
    EXPECT_EQ(rows->size(), 1000U);
    EXPECT_EQ(curve_text(*rows), curve_text(curve_rows(1000)));
}

TEST(CheckpointCurve, OfStepZeroIsEmpty) {
    const Scratch scratch;
    const auto rows = read_curve_of(write_checkpoint({scratch.path(), 0}).directory);
    ASSERT_TRUE(rows);
    EXPECT_TRUE(rows->empty());
}

TEST(CheckpointCurve, CostsEightyFourBytesAStep) {
    const Scratch scratch;
    const auto report = write_curve(scratch.path(), curve_rows(100000), 100000);
    EXPECT_EQ(report.rows, 100000U);
    EXPECT_NEAR(static_cast<double>(report.bytes), 8.4e6, 64 << 10);
    EXPECT_EQ(report.bytes, fs::file_size(scratch.path() / "curve.h5"));
    EXPECT_EQ(report.block_crcs.size(), 3U);
}

TEST(CheckpointCurve, IsNeverWrittenOver) {
    const Scratch scratch;
    write_curve(scratch.path(), curve_rows(3), 3);
    EXPECT_FALSE(message_of<IoError>([&] { write_curve(scratch.path(), curve_rows(3), 3); }).empty());
}

TEST(CheckpointCurve, DamageIsRefusedAndDoesNotHideTheTensors) {
    const Scratch scratch;
    const auto info = write_checkpoint({scratch.path(), 3});
    testing::flip_bit(info.directory / "curve.h5", fs::file_size(info.directory / "curve.h5") - 5, 3);
    EXPECT_NE(message_of<CheckpointError>([&] { read_curve_of(info.directory); }).find("curve.h5' is damaged"),
              std::string::npos);
    EXPECT_FALSE(verify_checkpoint(info.directory).faults.empty());
    EXPECT_TRUE(
        testing::wrong_tensors(CheckpointReader(info.directory), testing::small_model(), testing::flat_layout, 1)
            .empty());
}

TEST(CheckpointCurve, OlderCheckpointsWithoutOneAreStillRead) {
    const Scratch scratch;
    const fs::path old = checkpoint_of_version_1(scratch.path());
    EXPECT_EQ(newest_checkpoint(scratch.path())->directory, old);
    EXPECT_EQ(verify_checkpoint(old).faults, std::vector<std::string>{});
    EXPECT_EQ(read_curve_of(old), std::nullopt);
    EXPECT_EQ(testing::wrong_tensors(CheckpointReader(old), testing::small_model(), testing::last_dim_layout, 3),
              std::vector<std::string>{});
}

TEST(CheckpointCurve, AManifestThatTellsNonsenseAboutItIsRefused) {
    const Scratch scratch;
    const auto info = write_checkpoint({scratch.path(), 3});
    const auto good = nlohmann::json::parse(monitoring::read_text(info.directory / "MANIFEST.json"));
    const auto refusal = [&](const std::string& pointer, const nlohmann::json& value) {
        nlohmann::json json = good;
        json[nlohmann::json::json_pointer(pointer)] = value;
        return message_of<CheckpointError>([&] { Manifest::parse(json.dump(), "m"); });
    };
    EXPECT_NE(refusal("/curve/rows", 1U << 30).find("does not lie inside 'curve.h5'"), std::string::npos);
    EXPECT_NE(refusal("/curve/columns", nlohmann::json::object()).find("has no column 'step'"), std::string::npos);
    EXPECT_NE(refusal("/curve/file", 0).find("the curve is not in the file 'curve.h5'"), std::string::npos);
    EXPECT_NE(refusal("/curve/file", 9).find("m.curve.file"), std::string::npos);
    nlohmann::json of_version_1 = good;
    for (const char* column : {"eval_accuracy", "eval_targets"}) of_version_1["curve"]["columns"].erase(column);
    EXPECT_EQ(Manifest::parse(of_version_1.dump(), "m").curve->columns.size(), 9U) << "files of version 1 lack two";
    nlohmann::json without = good;
    without.erase("curve");
    EXPECT_FALSE(message_of<CheckpointError>([&] { Manifest::parse(without.dump(), "m"); }).empty());
}

}  // namespace
}  // namespace kiban::checkpoint
