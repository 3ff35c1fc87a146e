// SPDX-License-Identifier: Apache-2.0
// The manifest as untrusted input: whatever the text, a CheckpointError or a consistent manifest, never a crash.
#include "checkpoint/manifest.h"

#include <gtest/gtest.h>

#include <random>

#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::checkpoint {
namespace {

using testing::Scratch;
using testing::write_checkpoint;

const nlohmann::json kSmallest = {
    {"format", "kiban-checkpoint"},
    {"version", 1},
    {"step", 5},
    {"attempt", 2},
    {"files", {{{"name", "shard-00000.h5"}, {"bytes", 4096}, {"block_crcs", {7}}}}},
    {"tensors",
     {{{"name", "w"},
       {"kind", "param"},
       {"dtype", "f32"},
       {"shape", {4}},
       {"fingerprint", "000000000000000a"},
       {"boxes",
        {{{"file", 0}, {"offset", {0}}, {"extent", {3}}, {"file_offset", 1024}, {"fingerprint", "0000000000000007"}},
         {{"file", 0},
          {"offset", {3}},
          {"extent", {1}},
          {"file_offset", 2048},
          {"fingerprint", "0000000000000003"}}}}}}},
    {"state", {{"step", 5}}}};

std::string refusal(const std::string& pointer, const nlohmann::json& value) {
    nlohmann::json json = kSmallest;
    json[nlohmann::json::json_pointer(pointer)] = value;
    return message_of<CheckpointError>([&] { Manifest::parse(json.dump(), "m"); });
}

TEST(Manifest, ComesBackFromTextUnchanged) {
    const Manifest manifest = Manifest::parse(kSmallest.dump(), "m");
    EXPECT_EQ(nlohmann::json::parse(manifest.text()), kSmallest);
    EXPECT_EQ(manifest.shard_bytes(), 4096U);
}

TEST(Manifest, ANewerFormatIsRefusedByName) {
    EXPECT_EQ(refusal("/version", 3),
              "cannot read m: it has format version 3, this Kiban reads up to 2; use a newer Kiban");
    EXPECT_EQ(refusal("/version", 0), "cannot read m: it has format version 0, which never existed");
    EXPECT_EQ(refusal("/format", "other"), "cannot read m: expected format 'kiban-checkpoint', found 'other'");
}

TEST(Manifest, EveryContradictionIsNamed) {
    EXPECT_EQ(refusal("/files/0/name", "../../etc/passwd"),
              "cannot use m: expected a file name such as shard-00000.h5, found '../../etc/passwd'");
    EXPECT_EQ(refusal("/files/0/bytes", 5000000),
              "cannot use m: 'shard-00000.h5' of 5000000 bytes has 2 blocks of 4194304 bytes, found 1 CRCs");
    EXPECT_EQ(refusal("/files/0/bytes", 1024),
              "cannot use m: tensor 'w' (param) box [0]+[3] takes 12 bytes from offset 1024 of 'shard-00000.h5', which "
              "has 1024");
    EXPECT_EQ(refusal("/tensors/0/boxes/0/file", 1),
              "cannot read m.tensors.boxes.file: expected an integer from 0 to 0, found 1");
    EXPECT_EQ(refusal("/files", nlohmann::json::array()),
              "cannot read m.tensors.boxes: it names a file, but there are none");
    EXPECT_EQ(refusal("/tensors/0/boxes/0/extent", {5}),
              "cannot use m: box [0]+[5] of tensor 'w' (param) does not lie inside its shape [4]");
    EXPECT_EQ(refusal("/tensors/0/boxes/0/extent", {2}),
              "cannot use m: tensor 'w' (param) is not stored exactly once: the boxes cover 3 of the 4 elements of "
              "shape [4]");
    EXPECT_EQ(refusal("/tensors/0/boxes/1/offset", {2}),
              "cannot use m: tensor 'w' (param) is not stored exactly once: boxes [0]+[3] and [2]+[1] overlap");
    EXPECT_EQ(
        refusal("/tensors/0/fingerprint", "000000000000000b"),
        "cannot use m: tensor 'w' (param) has fingerprint 000000000000000b, its boxes add up to 000000000000000a");
    EXPECT_EQ(refusal("/tensors/0/shape", {INT64_MAX}),
              "cannot store tensor 'w' (param): 9223372036854775807 elements of f32 are more than 2^63-1 bytes");
    nlohmann::json twice = kSmallest;
    twice["tensors"].push_back(twice["tensors"][0]);
    EXPECT_EQ(message_of<CheckpointError>([&] { Manifest::parse(twice.dump(), "m"); }),
              "cannot use m: tensor 'w' (param) is listed twice");
}

TEST(Manifest, TextThatIsNotJsonIsRefused) {
    EXPECT_EQ(
        message_of<CheckpointError>([] { Manifest::parse("", "m"); }).rfind("cannot read m: expected JSON, found ", 0),
        0U);
    EXPECT_FALSE(message_of<CheckpointError>([] { Manifest::parse("{\"version\": 1e999}", "m"); }).empty());
    EXPECT_FALSE(message_of<CheckpointError>([] { Manifest::parse(std::string(100000, '['), "m"); }).empty());
    EXPECT_FALSE(message_of<CheckpointError>([] { Manifest::parse("{\"format\": \"\xFF\"}", "m"); }).empty());
    EXPECT_FALSE(message_of<CheckpointError>([] { Manifest::parse("[1, 2]", "m"); }).empty());
}

TEST(Manifest, WhateverValueStandsInWhateverFieldNothingCrashes) {
    const std::vector<nlohmann::json> values{nullptr,
                                             true,
                                             -1,
                                             0,
                                             1,
                                             4096,
                                             INT64_MAX,
                                             UINT64_MAX,
                                             0.5,
                                             1e300,
                                             "",
                                             "shard-..h5",
                                             "000000000000000a",
                                             nlohmann::json::array(),
                                             nlohmann::json::array({1}),
                                             nlohmann::json::array({INT64_MAX, INT64_MAX}),
                                             nlohmann::json::object(),
                                             nlohmann::json::array({nlohmann::json::object()})};
    int refused = 0;
    int accepted = 0;
    const nlohmann::json fields = kSmallest.flatten();
    for (const auto& item : fields.items()) {
        for (std::string pointer = item.key(); !pointer.empty(); pointer = pointer.substr(0, pointer.rfind('/'))) {
            for (const nlohmann::json& value : values) {
                nlohmann::json json = kSmallest;
                json[nlohmann::json::json_pointer(pointer)] = value;
                try {
                    Manifest::parse(json.dump(), "m");
                    ++accepted;
                } catch (const CheckpointError&) {
                    ++refused;
                }
            }
        }
    }
    EXPECT_GT(refused, 1000);
    EXPECT_GT(accepted, 0);
}

TEST(Manifest, RandomlyChangedTextIsRefusedOrConsistentButNeverCrashes) {
    const Scratch scratch;
    const std::string good = monitoring::read_text(write_checkpoint({scratch.path(), 1}).directory / "MANIFEST.json");
    std::mt19937_64 engine(11);
    int refused = 0;
    for (int round = 0; round < 3000; ++round) {
        std::string text = good;
        for (int change = 0; change < 3; ++change) {
            const std::size_t at = engine() % text.size();
            switch (engine() % 4) {
                case 0: text[at] = static_cast<char>(engine() % 256); break;
                case 1: text.erase(at, engine() % 40); break;
                case 2: text.insert(at, good.substr(engine() % good.size(), engine() % 40)); break;
                default: text[at] = "0123456789-.[]{},:\"e"[engine() % 20];
            }
        }
        try {
            Manifest::parse(text, "m");
        } catch (const CheckpointError&) {
            ++refused;
        }
    }
    EXPECT_GT(refused, 2000);
}

TEST(CommitRecord, EveryFieldComesBack) {
    const Scratch scratch;
    const CommitRecord record = CommitRecord::of("{}", UINT64_MAX - 1, UINT32_MAX, 1234567890123);
    testing::put_text(scratch.path() / "COMMIT", encode(record));
    const CommitRecord back = read_commit_record(scratch.path());
    EXPECT_EQ(back.step, UINT64_MAX - 1);
    EXPECT_EQ(back.attempt, UINT32_MAX);
    EXPECT_EQ(back.manifest_bytes, 2U);
    EXPECT_EQ(back.shard_bytes, 1234567890123U);
    EXPECT_EQ(back.manifest_sha256,
              "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");  // of {}, sha256sum
    EXPECT_TRUE(back.matches("{}"));
    EXPECT_FALSE(back.matches("{ "));
}

TEST(CommitRecord, OtherLengthsAndContentsAreRefused) {
    const Scratch scratch;
    const std::string good = encode(CommitRecord::of("{}", 1, 1, 0));
    const auto fault = [&](const std::string& content) {
        testing::put_text(scratch.path() / "COMMIT", content);
        return message_of<CheckpointError>([&] { read_commit_record(scratch.path()); });
    };
    const std::string where = "cannot trust checkpoint '" + scratch.path().string() + "': ";
    EXPECT_EQ(message_of<CheckpointError>([&] { read_commit_record(scratch.path()); }),
              where + "it has no file COMMIT");
    for (std::size_t bytes = 0; bytes < 12; ++bytes) {
        EXPECT_EQ(fault(good.substr(0, bytes)),
                  where + "its COMMIT of " + std::to_string(bytes) + " bytes is not a commit record");
    }
    for (std::size_t bytes = 12; bytes < good.size(); ++bytes) {
        EXPECT_EQ(fault(good.substr(0, bytes)),
                  where + "its COMMIT is damaged (expected 116 bytes that match their CRC, found " +
                      std::to_string(bytes) + " bytes)");
    }
    EXPECT_FALSE(fault(good + "x").empty());
    EXPECT_FALSE(fault(std::string(116, '\0')).empty());
    EXPECT_FALSE(fault(std::string(1 << 20, 'K')).empty());
}

}  // namespace
}  // namespace kiban::checkpoint
