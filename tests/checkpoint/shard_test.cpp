// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/shard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "data/h5.h"
#include "monitoring/crc32c.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::checkpoint {
namespace {

using testing::box_bytes;
using testing::run_command;
using testing::Save;
using testing::Scratch;

std::string text_of(const std::filesystem::path& file) { return monitoring::read_text(file); }

std::vector<std::uint32_t> crcs_of(const std::string& content) {
    std::vector<std::uint32_t> crcs;
    for (std::size_t at = 0; at < content.size(); at += kCrcBlockBytes) {
        const auto block = std::string_view(content).substr(at, kCrcBlockBytes);
        crcs.push_back(monitoring::crc32c(std::as_bytes(std::span(block))));
    }
    return crcs;
}

TEST(Shard, ReportDescribesEveryByteOfTheFile) {
    const Scratch scratch;
    for (const ShardReport& report : testing::write_shards(Save{scratch.path(), 5}, scratch.path())) {
        const std::string content = text_of(scratch.path() / report.file);
        EXPECT_EQ(content.size(), report.bytes);
        EXPECT_EQ(crcs_of(content), report.block_crcs);
        for (const StoredBox& stored : report.boxes) {
            const auto expected = box_bytes(stored.tensor, 5, stored.box);
            ASSERT_LE(stored.file_offset + expected.size(), content.size());
            const auto* found = reinterpret_cast<const std::byte*>(content.data()) + stored.file_offset;
            EXPECT_TRUE(std::equal(expected.begin(), expected.end(), found)) << to_string(stored.tensor.id);
            EXPECT_EQ(stored.fingerprint, fingerprint({stored.tensor, stored.box, expected.data()}));
        }
    }
}

TEST(Shard, TheFormatDocumentAloneSufficesToReadACheckpointWithH5py) {
    const Scratch scratch;
    for (const int writers : {1, 3}) {
        const auto info = testing::write_checkpoint({scratch.path(), static_cast<std::uint64_t>(writers), 1, writers});
        const auto result =
            run_command("/usr/bin/python3 " KIBAN_SOURCE_DIR "/tests/checkpoint/referee.py " + info.directory.string());
        EXPECT_EQ(result.status, 0) << result.output;
        EXPECT_EQ(result.output.rfind("good: " + std::to_string(writers + 1) + " files, 18 tensors", 0), 0U)
            << result.output;
    }
}

TEST(Shard, TheRefereeNoticesAFlippedBit) {
    const Scratch scratch;
    const auto info = testing::write_checkpoint({scratch.path(), 1});
    testing::flip_bit(info.directory / "shard-00001.h5",
                      std::filesystem::file_size(info.directory / "shard-00001.h5") - 1, 3);
    const auto result =
        run_command("/usr/bin/python3 " KIBAN_SOURCE_DIR "/tests/checkpoint/referee.py " + info.directory.string());
    EXPECT_NE(result.status, 0);
    EXPECT_NE(result.output.find("block CRCs"), std::string::npos) << result.output;
}

TEST(Shard, H5dumpShowsTheValuesAndWhereTheyBelong) {
    const Scratch scratch;
    const std::vector<float> values{1.5F, -2.25F, 3.0F, 0.125F};
    const TensorSlice slice{
        {{"layers.0.mlp.up.weight", "exp_avg"}, DType::f32, {4, 4}}, {{2, 1}, {2, 2}}, values.data()};
    write_shard(scratch.path(), 7, std::span(&slice, 1));
    const auto dump = run_command("h5dump " + (scratch.path() / "shard-00007.h5").string());
    EXPECT_EQ(dump.status, 0) << dump.output;
    for (const char* expected :
         {"GROUP \"layers.0.mlp.up.weight\"", "DATASET \"exp_avg.0\"", "H5T_IEEE_F32LE", "(0,0): 1.5, -2.25,",
          "(1,0): 3, 0.125", "ATTRIBUTE \"global_shape\"", "(0): 4, 4", "ATTRIBUTE \"offset\"", "(0): 2, 1",
          "ATTRIBUTE \"extent\"", "(0): 2, 2", "\"kiban-shard\"", "\"f32\""}) {
        EXPECT_NE(dump.output.find(expected), std::string::npos) << expected << " in\n" << dump.output;
    }
}

TEST(Shard, Hdf5ItselfReadsThePayloadThatWasWrittenAroundIt) {
    const Scratch scratch;
    const TensorInfo tensor{{"w", "param"}, DType::f32, {1100, 1000}};  // more than one block
    const auto bytes = box_bytes(tensor, 2, whole(tensor.shape));
    const TensorSlice slice{tensor, whole(tensor.shape), bytes.data()};
    const auto report = write_shard(scratch.path(), 0, std::span(&slice, 1));
    EXPECT_EQ(report.block_crcs.size(), 2U);
    EXPECT_EQ(report.block_crcs, crcs_of(text_of(scratch.path() / report.file)));
    const std::lock_guard lock(data::h5_mutex());
    data::H5Handle file = data::h5_open(scratch.path() / report.file);
    data::H5Handle dataset(H5Dopen2(file.id(), "w/param.0", H5P_DEFAULT), H5Dclose, "open the dataset");
    std::vector<std::byte> read(bytes.size());
    data::h5_check(H5Dread(dataset.id(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, read.data()),
                   "read the dataset");
    EXPECT_EQ(read, bytes);
}

TEST(Shard, EqualTensorsMakeEqualFiles) {
    const Scratch first;
    const Scratch second;
    const auto a = testing::write_shards({first.path(), 5}, first.path());
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // no time of birth, to the second, may be inside
    testing::write_shards({second.path(), 5}, second.path());
    for (const ShardReport& report : a)
        EXPECT_EQ(text_of(first.path() / report.file), text_of(second.path() / report.file)) << report.file;
}

TEST(Shard, SeveralBoxesOfOneTensorAreDatasetsOfOneGroup) {
    const Scratch scratch;
    const TensorInfo tensor{{"w", "param"}, DType::f32, {4, 5, 6}};
    std::vector<std::vector<std::byte>> buffers;
    std::vector<TensorSlice> slices;
    for (const Box& box : boxes_of_flat_range(tensor.shape, 7, 101)) {
        buffers.push_back(box_bytes(tensor, 1, box));
        slices.push_back({tensor, box, buffers.back().data()});
    }
    ASSERT_EQ(slices.size(), 5U);
    write_shard(scratch.path(), 0, slices);
    const auto list = run_command("h5ls -r " + (scratch.path() / "shard-00000.h5").string());
    for (int i = 0; i < 5; ++i)
        EXPECT_NE(list.output.find("/w/param." + std::to_string(i)), std::string::npos) << list.output;
}

TEST(Shard, AWriterWithNothingToStoreWritesAnEmptyShard) {
    const Scratch scratch;
    const auto report = write_shard(scratch.path(), 3, {});
    EXPECT_EQ(report.file, "shard-00003.h5");
    EXPECT_TRUE(report.boxes.empty());
    EXPECT_EQ(run_command("h5dump " + (scratch.path() / report.file).string()).status, 0);
}

TEST(Shard, IsNeverWrittenOver) {
    const Scratch scratch;
    testing::put_text(scratch.path() / "shard-00000.h5", "precious");
    const std::string name = (scratch.path() / "shard-00000.h5").string();
    EXPECT_EQ(message_of<CheckpointError>([&] { write_shard(scratch.path(), 0, {}); }),
              "cannot write '" + name + "': it exists already, and a shard is never written over");
    EXPECT_EQ(text_of(name), "precious");
}

TEST(Shard, ABoxOutsideItsTensorIsRefusedBeforeAFileAppears) {
    const Scratch scratch;
    const float value = 0;
    const TensorSlice slice{{{"w", "param"}, DType::f32, {2, 3}}, {{1, 0}, {2, 3}}, &value};
    EXPECT_EQ(message_of<CheckpointError>([&] { write_shard(scratch.path(), 0, std::span(&slice, 1)); }),
              "cannot store tensor 'w' (param): box [1,0]+[2,3] does not lie inside its shape [2,3]");
    EXPECT_EQ(testing::entries_in(scratch.path()), 0U);
}

TEST(Shard, AMissingDirectoryIsNamed) {
    const Scratch scratch;
    const std::string message = message_of<IoError>([&] { write_shard(scratch.path() / "gone", 0, {}); });
    EXPECT_NE(message.find((scratch.path() / "gone" / "shard-00000.h5").string()), std::string::npos) << message;
}

TEST(ShardReport, ComesBackFromTextUnchanged) {
    const Scratch scratch;
    for (const ShardReport& report : testing::write_shards({scratch.path(), 5}, scratch.path())) {
        const nlohmann::json json = to_json(report);
        const ShardReport back = shard_report_from_json(nlohmann::json::parse(json.dump()));
        EXPECT_EQ(to_json(back), json);
        EXPECT_EQ(back.file, report.file);
        EXPECT_EQ(back.block_crcs, report.block_crcs);
        ASSERT_EQ(back.boxes.size(), report.boxes.size());
        for (std::size_t i = 0; i < back.boxes.size(); ++i) {
            EXPECT_EQ(back.boxes[i].tensor, report.boxes[i].tensor);
            EXPECT_EQ(back.boxes[i].box, report.boxes[i].box);
            EXPECT_EQ(back.boxes[i].file_offset, report.boxes[i].file_offset);
            EXPECT_EQ(back.boxes[i].fingerprint, report.boxes[i].fingerprint);
        }
    }
}

TEST(ShardReport, MalformedOnesAreRefusedNamingTheField) {
    const ShardReport report{
        "shard-00000.h5", 4096, {7}, {{{{"w", "param"}, DType::f32, {2, 3}}, {{0, 0}, {2, 3}}, 1024, 99}}};
    const auto refusal = [&](const std::string& pointer, const nlohmann::json& value) {
        nlohmann::json json = to_json(report);
        json[nlohmann::json::json_pointer(pointer)] = value;
        return message_of<CheckpointError>([&] { shard_report_from_json(json); });
    };
    EXPECT_EQ(message_of<CheckpointError>([] { shard_report_from_json("x"); }),
              "cannot read shard report: expected an object, found \"x\"");
    EXPECT_EQ(message_of<CheckpointError>([] { shard_report_from_json(nlohmann::json::object()); }),
              "cannot read shard report: field 'file' is missing");
    EXPECT_EQ(refusal("/file", 3), "cannot read shard report.file: expected text, found 3");
    EXPECT_EQ(refusal("/bytes", -1),
              "cannot read shard report.bytes: expected an integer from 0 to 9223372036854775807, found -1");
    EXPECT_EQ(refusal("/block_crcs/0", 1LL << 32),
              "cannot read shard report.block_crcs: expected an integer from 0 to 4294967295, found 4294967296");
    EXPECT_EQ(refusal("/boxes/0/fingerprint", "12"),
              "cannot read shard report.boxes.fingerprint: expected 16 hex digits, found \"12\"");
    EXPECT_EQ(refusal("/boxes/0/fingerprint", "00000000000000zz"),
              "cannot read shard report.boxes.fingerprint: expected 16 hex digits, found \"00000000000000zz\"");
    EXPECT_EQ(refusal("/boxes/0/dtype", "f8"), "unknown dtype 'f8': expected f32, bf16, f64, i64 or u8");
    EXPECT_EQ(refusal("/boxes/0/shape/0", 1.5),
              "cannot read shard report.boxes.shape: expected an integer from 0 to 9223372036854775807, found 1.5");
    EXPECT_EQ(refusal("/boxes/0/shape", {INT64_MAX, INT64_MAX}),
              "a tensor of shape [9223372036854775807,9223372036854775807]: expected at most 2^63-1 elements");
    EXPECT_EQ(refusal("/boxes/0/extent", {2, 4}),
              "cannot use shard report: box [0,0]+[2,4] of tensor 'w' (param) does not lie inside its shape [2,3]");
    EXPECT_EQ(refusal("/boxes/0/name", "../w").rfind("cannot store a tensor: expected a name", 0), 0U);
    EXPECT_EQ(refusal("/boxes", nlohmann::json::object()),
              "cannot read shard report.boxes: expected an array, found an object of 0 members");
}

}  // namespace
}  // namespace kiban::checkpoint
