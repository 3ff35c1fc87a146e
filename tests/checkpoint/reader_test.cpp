// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "monitoring/error.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::checkpoint {
namespace {

using testing::box_bytes;
using testing::Layout;
using testing::Save;
using testing::Scratch;
using testing::small_model;
using testing::write_checkpoint;
using testing::wrong_tensors;

struct NamedLayout {
    const char* name;
    Layout layout;
};
const std::vector<NamedLayout> kLayouts{
    {"flat", testing::flat_layout}, {"rows", testing::first_dim_layout}, {"columns", testing::last_dim_layout}};

TEST(Reader, AnyNumberOfWritersOnAnyLayoutLoadsOntoAnyOther) {
    int pairs = 0;
    for (const NamedLayout& saved : kLayouts) {
        for (const int writers : {1, 2, 3, 5, 8, 16}) {
            const Scratch scratch;
            const auto info = write_checkpoint({scratch.path(), 42, 3, writers, saved.layout});
            const CheckpointReader reader(info.directory);
            for (const NamedLayout& wanted : kLayouts) {
                for (const int readers : {1, 2, 3, 4, 7, 8}) {
                    EXPECT_EQ(wrong_tensors(reader, small_model(), wanted.layout, readers), std::vector<std::string>{})
                        << saved.name << " " << writers << " -> " << wanted.name << " " << readers;
                    ++pairs;
                }
            }
        }
    }
    EXPECT_EQ(pairs, 324);
}

TEST(Reader, FingerprintsDoNotDependOnTheLayout) {
    const Scratch scratch;
    const CheckpointReader one(write_checkpoint({scratch.path(), 1, 1, 1}).directory);
    const CheckpointReader seven(write_checkpoint({scratch.path(), 1, 2, 7, testing::last_dim_layout}).directory);
    for (const TensorInfo& tensor : small_model())
        EXPECT_EQ(one.fingerprint_of(tensor.id), seven.fingerprint_of(tensor.id));
}

TEST(Reader, SaysWhatIsInside) {
    const Scratch scratch;
    const Save save{scratch.path(), 42, 3};
    const CheckpointReader reader(write_checkpoint(save).directory);
    EXPECT_EQ(reader.step(), 42U);
    EXPECT_EQ(reader.attempt(), 3U);
    EXPECT_EQ(reader.state(), to_json(testing::state_of(save)));
    EXPECT_EQ(reader.tensors().size(), small_model().size());
    for (const TensorInfo& tensor : small_model()) {
        EXPECT_TRUE(reader.has(tensor.id));
        EXPECT_NE(std::ranges::find(reader.tensors(), tensor), reader.tensors().end()) << to_string(tensor.id);
    }
    EXPECT_FALSE(reader.has({"norm.weight", "momentum"}));
}

TEST(Reader, TensorsOfManyBlocksComeBackWholeAndInPieces) {
    const Scratch scratch;
    const std::vector<TensorInfo> model{{{"large", "param"}, DType::f32, {1031, 3001}},
                                        {{"small", "param"}, DType::u8, {3}},
                                        {{"large", "exp_avg"}, DType::f32, {1031, 3001}}};
    const auto info = write_checkpoint({scratch.path(), 1, 1, 2, testing::flat_layout, model});
    const CheckpointReader reader(info.directory);
    EXPECT_EQ(wrong_tensors(reader, model, testing::flat_layout, 1), std::vector<std::string>{});
    EXPECT_EQ(wrong_tensors(reader, model, testing::first_dim_layout, 3), std::vector<std::string>{});
    EXPECT_EQ(wrong_tensors(reader, model, testing::last_dim_layout, 3), std::vector<std::string>{});
    const Box sliver{{500, 17}, {20, 1}};
    std::vector<std::byte> read(20 * 4);
    reader.read({"large", "exp_avg"}, sliver, read.data());
    EXPECT_EQ(read, box_bytes(model[2], 1, sliver));
}

TEST(Reader, WhatDoesNotExistIsRefusedByName) {
    const Scratch scratch;
    const auto info = write_checkpoint({scratch.path(), 1});
    const CheckpointReader reader(info.directory);
    std::array<float, 64> buffer{};
    EXPECT_EQ(message_of<CheckpointError>([&] {
                  reader.read({"head.weight", "param"}, {{0}, {1}}, buffer.data());
              }),
              "checkpoint '" + info.directory.string() + "' has no tensor 'head.weight' (param); it has 18 tensors");
    EXPECT_EQ(message_of<CheckpointError>([&] {
                  reader.read({"norm.weight", "param"}, {{10}, {4}}, buffer.data());
              }),
              "cannot read box [10]+[4] of tensor 'norm.weight' (param) in checkpoint '" + info.directory.string() +
                  "': its shape is [13]");
    EXPECT_EQ(message_of<CheckpointError>([&] {
                  reader.read({"norm.weight", "param"}, {{0, 0}, {1, 1}}, buffer.data());
              }),
              "cannot read box [0,0]+[1,1] of tensor 'norm.weight' (param) in checkpoint '" + info.directory.string() +
                  "': its shape is [13]");
    EXPECT_THROW(reader.fingerprint_of({"head.weight", "param"}), CheckpointError);
    EXPECT_EQ(message_of<IoError>([&] { CheckpointReader(scratch.path() / "nowhere"); }),
              "cannot read checkpoint '" + (scratch.path() / "nowhere").string() +
                  "': it is not there; is its file system mounted on this host?");
}

TEST(Reader, OnlyTheDamagedBlockIsRefusedAndNamedWithItsTensor) {
    const Scratch scratch;
    const std::vector<TensorInfo> model{{{"large", "param"}, DType::f32, {4 << 20}}};  // 16 MiB in one file
    const auto info = write_checkpoint({scratch.path(), 1, 1, 1, testing::flat_layout, model});
    const auto shard = info.directory / "shard-00000.h5";
    testing::flip_bit(shard, 2 * kCrcBlockBytes + 12345, 6);
    const CheckpointReader reader(info.directory);  // sizes are right
    std::vector<std::byte> buffer(4);
    EXPECT_NO_THROW(reader.read({"large", "param"}, {{0}, {1}}, buffer.data()));
    EXPECT_EQ(buffer, box_bytes(model[0], 1, {{0}, {1}}));
    EXPECT_NO_THROW(reader.read({"large", "param"}, {{(4 << 20) - 1}, {1}}, buffer.data()));
    const std::string message = message_of<CheckpointError>([&] {
        reader.read({"large", "param"}, {{2100000}, {1}}, buffer.data());
    });
    EXPECT_EQ(message.rfind("cannot read tensor 'large' (param) box [2100000]+[1]: '" + shard.string() +
                                "' is damaged: block 2 (bytes 8388608 to 12582912) has CRC-32C ",
                            0),
              0U)
        << message;
    EXPECT_NE(message.find("; it holds tensor 'large' (param) box [0]+[4194304]"), std::string::npos) << message;
    std::vector<std::byte> all(16U << 20);
    EXPECT_THROW(reader.read({"large", "param"}, whole({4 << 20}), all.data()), CheckpointError);

    const VerifyResult verified = verify_checkpoint(info.directory);
    ASSERT_EQ(verified.faults.size(), 1U);
    EXPECT_NE(verified.faults[0].find("block 2 (bytes 8388608 to 12582912)"), std::string::npos) << verified.faults[0];
}

TEST(Verify, CountsWhatItReadAndFindsNothingWrongInAGoodCheckpoint) {
    const Scratch scratch;
    const auto info = write_checkpoint({scratch.path(), 1, 1, 3});
    const VerifyResult result = verify_checkpoint(info.directory);
    EXPECT_EQ(result.faults, std::vector<std::string>{});
    EXPECT_EQ(result.files, 6U);
    EXPECT_EQ(result.tensors, 18U);
    std::uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(info.directory)) bytes += entry.file_size();
    EXPECT_EQ(result.bytes, bytes);
    EXPECT_EQ(info.bytes, bytes);
}

TEST(Verify, ListsEveryFaultNotOnlyTheFirst) {
    const Scratch scratch;
    const std::vector<TensorInfo> model{{{"large", "param"}, DType::f32, {9 << 20}}};
    const auto info =
        write_checkpoint({scratch.path(), 1, 1, 3, testing::flat_layout, model});  // 12 MiB and a header each
    testing::flip_bit(info.directory / "shard-00000.h5", 10, 0);                   // HDF5's own bytes
    testing::flip_bit(info.directory / "shard-00000.h5", 2 * kCrcBlockBytes, 0);
    std::filesystem::remove(info.directory / "shard-00001.h5");
    std::filesystem::resize_file(info.directory / "shard-00002.h5", 100);
    testing::put_text(info.directory / "notes.txt", "mine");
    const VerifyResult result = verify_checkpoint(info.directory);
    ASSERT_EQ(result.faults.size(), 5U);
    EXPECT_NE(result.faults[0].find("shard-00000.h5' is damaged: block 0"), std::string::npos) << result.faults[0];
    EXPECT_NE(result.faults[1].find("shard-00000.h5' is damaged: block 2"), std::string::npos) << result.faults[1];
    EXPECT_NE(result.faults[2].find("file 'shard-00001.h5' is missing"), std::string::npos) << result.faults[2];
    EXPECT_NE(result.faults[3].find("file 'shard-00002.h5' has 100 bytes, expected "), std::string::npos)
        << result.faults[3];
    EXPECT_NE(result.faults[4].find("'notes.txt' in checkpoint"), std::string::npos) << result.faults[4];
}

TEST(Verify, DoesNotThrowForADirectoryThatIsNoCheckpoint) {
    const Scratch scratch;
    EXPECT_EQ(
        verify_checkpoint(scratch.path()).faults,
        std::vector<std::string>{"cannot trust checkpoint '" + scratch.path().string() + "': it has no file COMMIT"});
    EXPECT_EQ(verify_checkpoint(scratch.path() / "gone").faults.size(), 1U);
}

}  // namespace
}  // namespace kiban::checkpoint
