// SPDX-License-Identifier: Apache-2.0
// The safetensors format: what is written is read, and a header that is not strictly of the format is refused by name.
#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "checkpoint/float_bits.h"
#include "checkpoint/safetensors_directory.h"
#include "monitoring/error.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;
using testing::put_text;
using testing::Scratch;

std::string refusal(const std::string& header, std::uint64_t data_bytes) {
    return message_of<CheckpointError>([&] { parse_safetensors_header(header, data_bytes, "x"); });
}

// Length and header as a file has them.
std::string file_text(const std::string& header, const std::string& data = "") {
    std::string length(8, '\0');
    for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i) & 0xFF);
    return length + header + data;
}

std::vector<std::byte> bytes_of(const SafeTensor& tensor, int seed) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(num_elements(tensor.shape)) *
                                 *safetensors_element_bytes(tensor.dtype));
    for (std::size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = static_cast<std::byte>(i * 7 + static_cast<unsigned>(seed));
    return bytes;
}

std::vector<SafeTensor> some_tensors() {
    return {{.name = "a.weight", .dtype = "F32", .shape = {3, 5}},
            {.name = "b", .dtype = "BF16", .shape = {7}},
            {.name = "scalar", .dtype = "F64", .shape = {}},
            {.name = "nothing", .dtype = "U8", .shape = {0, 4}},
            {.name = "\u57fa\u76e4", .dtype = "I8", .shape = {1}}};
}

TEST(Safetensors, AHeaderIsReadAsItStands) {
    const std::string header =
        R"({"__metadata__":{"format":"pt"},"b":{"data_offsets":[8,12],"dtype":"F16","shape":[1,2]},)"
        R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  )";
    const SafetensorsHeader parsed = parse_safetensors_header(header, 12, "x");
    ASSERT_EQ(parsed.tensors.size(), 2U);
    EXPECT_EQ(parsed.tensors[0].name, "a") << "in the order of their bytes";
    EXPECT_EQ(parsed.tensors[1].shape, (Shape{1, 2}));
    EXPECT_EQ(parsed.tensors[1].dtype, "F16");
    EXPECT_EQ(parsed.tensors[1].begin, 8U);
    EXPECT_EQ(parsed.metadata, (std::map<std::string, std::string>{{"format", "pt"}}));
    EXPECT_EQ(parsed.data_begin, 8 + header.size());
    EXPECT_TRUE(parse_safetensors_header("{}", 0, "x").tensors.empty());
}

TEST(Safetensors, AHeaderThatIsNotStrictlyOfTheFormatIsRefused) {
    const auto one = [](const std::string& fields) { return R"({"t":{)" + fields + "}}"; };
    const std::string good = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
    ASSERT_NO_THROW(parse_safetensors_header(one(good), 8, "x"));
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"", "does not begin with '{'"},
        {" {}", "does not begin with '{'"},
        {"[]", "does not begin with '{'"},
        {"{}\n", "does not end with '}' and spaces"},
        {"{} x", "does not end with '}' and spaces"},
        {"{}{}", "no JSON"},
        {std::string("{}\0}", 4), "a zero byte"},
        {"{\"\xFF\":1}", "no JSON"},
        {R"({"t":1})", "found a number at \"t\""},
        {R"({"t":null})", "found null at \"t\""},
        {R"({"t":[]})", "found an array at \"t\""},
        {R"({"__metadata__":{"a":1}})", "found a number at \"a\""},
        {R"({"__metadata__":{"a":"b","a":"c"}})", "\"a\" comes twice"},
        {R"({"__metadata__":[]})", "found an array"},
        {one(good + R"(,"more":1)"), "found \"more\""},
        {one(R"("dtype":"F32","shape":[2])"), "found only some of them"},
        {one(R"("dtype":5,"shape":[2],"data_offsets":[0,8])"), "found a number at \"dtype\""},
        {one(R"("dtype":"F32","shape":"2","data_offsets":[0,8])"), "found a string at \"shape\""},
        {one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), "a number that is no integer"},
        {one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), "a negative number"},
        {one(R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])"), "found an array"},
        {one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])"), "found a number"},
        {one(R"("dtype":"F32","shape":[2],"data_offsets":[0])"), "expected two data_offsets"},
        {one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), "found 8 to 0"},
        {one(R"("dtype":"F31","shape":[2],"data_offsets":[0,8])"), "no dtype \"F31\""},
        {one(R"("dtype":"F16","shape":[2],"data_offsets":[0,8])"), "are 4 bytes, but its data_offsets span 8"},
        {one(R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8])"),
         "a dimension is 9223372036854775808"},
        {one(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8])"), "more bytes than any file"},
        {one(R"("dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551616])"), "no integer"},
        {one(R"("dtype":"F32","shape":[2],"data_offsets":[4,12])"), "expected its bytes from 0 on"},
        {R"({"t":{)" + good + R"(},"t":{)" + good + "}}", "\"t\" comes twice"},
        {R"({"t":{)" + good + R"(},"u":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "from 8 on, found 4 to 8"},
    };
    for (const auto& [header, expected] : cases)
        EXPECT_NE(refusal(header, 8).find(expected), std::string::npos) << header << "\n" << refusal(header, 8);
    EXPECT_NE(refusal(one(good), 9).find("end at byte 8 of the data, of which there are 9"), std::string::npos);
    EXPECT_NE(refusal(one(good), 4).find("end at byte 8 of the data, of which there are 4"), std::string::npos);
    std::string deep = R"({"t":{"dtype":"F32","shape":[)";
    for (int i = 0; i < 40; ++i) deep += "1,";
    EXPECT_NE(refusal(deep + R"(1],"data_offsets":[0,4]}})", 4).find("at most 32 dimensions"), std::string::npos);
}

TEST(Safetensors, ALengthThatCannotBeIsRefusedBeforeItIsRead) {
    const Scratch scratch;
    const fs::path file = scratch.path() / "x.safetensors";
    const auto message = [&](const std::string& text) {
        put_text(file, text);
        return message_of<CheckpointError>([&] { SafetensorsFile opened(file); });
    };
    EXPECT_NE(message("").find("expected at least 8 bytes, found 0"), std::string::npos);
    EXPECT_NE(message("1234567").find("found 7"), std::string::npos);
    EXPECT_NE(message(std::string(8, '\xFF') + "{}").find("18446744073709551615 bytes: expected at most 100000000"),
              std::string::npos);
    EXPECT_NE(message(file_text("{}").substr(0, 9)).find("states a header of 2 bytes, but only 1 follow"),
              std::string::npos);
    put_text(file, file_text("{}"));
    EXPECT_NO_THROW(SafetensorsFile opened(file));
    EXPECT_NE(message(file_text("{}", "more")).find("of which there are 4"), std::string::npos);
}

TEST(Safetensors, WhatIsWrittenIsRead) {
    const Scratch scratch;
    const fs::path file = scratch.path() / "x.safetensors";
    {
        SafetensorsWriter writer(file, some_tensors(), {{"format", "pt"}});
        for (const SafeTensor& tensor : some_tensors()) writer.append(bytes_of(tensor, 3));
        EXPECT_FALSE(fs::exists(file)) << "not before it is complete";
        writer.close();
    }
    const SafetensorsFile opened(file);
    ASSERT_EQ(opened.header().tensors.size(), some_tensors().size());
    EXPECT_EQ(opened.header().data_begin % 8, 0U);
    for (const SafeTensor& tensor : opened.header().tensors) {
        std::vector<std::byte> found(tensor.end - tensor.begin);
        opened.read(tensor, 0, found);
        EXPECT_EQ(found, bytes_of(tensor, 3)) << tensor.name;
    }
    std::vector<std::byte> part(4);
    opened.read(opened.header().tensors[0], 8, part);
    const auto whole_tensor = bytes_of(opened.header().tensors[0], 3);
    EXPECT_EQ(part, std::vector<std::byte>(whole_tensor.begin() + 8, whole_tensor.begin() + 12));
}

TEST(Safetensors, AFileThatIsNotCompletedLeavesNothing) {
    const Scratch scratch;
    {
        SafetensorsWriter writer(scratch.path() / "x.safetensors", some_tensors(), {});
        writer.append(bytes_of(some_tensors()[0], 1));
    }
    EXPECT_EQ(testing::entries_in(scratch.path()), 0U);
    std::vector<SafeTensor> twice = {{.name = "t", .dtype = "U8", .shape = {0}},
                                     {.name = "t", .dtype = "U8", .shape = {0}}};
    EXPECT_NE(message_of<CheckpointError>([&] { safetensors_header_text(twice, {}); }).find("the same name"),
              std::string::npos);
}

TEST(Safetensors, ADirectoryOfSeveralFilesIsReadThroughItsIndex) {
    const Scratch scratch;
    const auto tensors = some_tensors();  // 60 + 14 + 8 + 0 + 1 bytes
    SafetensorsDirectoryWriter writer(scratch.path(), tensors, 22, {{"format", "pt"}});
    EXPECT_EQ(writer.files(), 3U) << "60 alone, 14 + 8 + 0 together, 1 in the last";
    for (const SafeTensor& tensor : tensors) writer.append(bytes_of(tensor, 5));
    writer.close();
    EXPECT_TRUE(fs::exists(scratch.path() / "model-00002-of-00003.safetensors"));
    const SafetensorsDirectory opened(scratch.path());
    ASSERT_EQ(opened.tensors().size(), tensors.size());
    for (const SafeTensor& tensor : tensors) {
        const SafeTensor* found = opened.find(tensor.name);
        ASSERT_NE(found, nullptr) << tensor.name;
        std::vector<std::byte> bytes(found->end - found->begin);
        opened.read(*found, 0, bytes);
        EXPECT_EQ(bytes, bytes_of(tensor, 5)) << tensor.name;
    }
    EXPECT_EQ(opened.find("none"), nullptr);
}

class SafetensorsIndex : public ::testing::Test {
  protected:
    // a in 1.safetensors, b in 2.safetensors.
    void SetUp() override {
        for (const char* name : {"a", "b"}) {
            const std::string file = name == std::string("a") ? "1.safetensors" : "2.safetensors";
            SafetensorsWriter writer(scratch_.path() / file, {{.name = name, .dtype = "U8", .shape = {1}}}, {});
            writer.append(std::vector<std::byte>(1));
            writer.close();
        }
    }
    std::string message(const std::string& index) {
        put_text(scratch_.path() / kSafetensorsIndex, index);
        return message_of<Error>([&] { SafetensorsDirectory opened(scratch_.path()); });
    }
    Scratch scratch_;
};

TEST_F(SafetensorsIndex, ThatDiffersFromItsFilesIsRefused) {
    put_text(scratch_.path() / kSafetensorsIndex, R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
    EXPECT_NO_THROW(SafetensorsDirectory opened(scratch_.path()));
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"{", "is no JSON"},
        {"[]", "expected an object with a 'weight_map'"},
        {R"({"weight_map":[]})", "expected an object with a 'weight_map'"},
        {R"({"weight_map":{"a":1}})", "expected the name of a file beside the index, found 1"},
        {R"({"weight_map":{"a":"../1.safetensors"}})", "expected the name of a file beside the index"},
        {R"({"weight_map":{"a":"/etc/passwd"}})", "expected the name of a file beside the index"},
        {R"({"weight_map":{"a":".."}})", "expected the name of a file beside the index"},
        {R"({"weight_map":{"a":"3.safetensors"}})", "3.safetensors"},
        {R"({"weight_map":{"a":"1.safetensors","a":"1.safetensors"}})", "\"a\" comes twice"},
        {R"({"weight_map":{"a":"2.safetensors","b":"2.safetensors"}})", "tensor 'a' is not in '2.safetensors'"},
        {R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors","c":"2.safetensors"}})", "tensor 'c' is not in"},
        {R"({"a":[[[[[[[[[[1]]]]]]]]]]})", "nested too deeply"},
    };
    for (const auto& [index, expected] : cases)
        EXPECT_NE(message(index).find(expected), std::string::npos) << index << "\n" << message(index);
    SafetensorsWriter more(scratch_.path() / "3.safetensors",
                           {{.name = "c", .dtype = "U8", .shape = {0}}, {.name = "d", .dtype = "U8", .shape = {0}}},
                           {});
    more.close();
    EXPECT_NE(
        message(R"({"weight_map":{"c":"3.safetensors"}})").find("holds tensor 'd', which the index does not name"),
        std::string::npos);
}

TEST_F(SafetensorsIndex, BesideASingleFileIsAmbiguous) {
    fs::copy(scratch_.path() / "1.safetensors", scratch_.path() / kSafetensorsFile);
    EXPECT_NE(message("{}").find("holds two models"), std::string::npos);
    fs::remove(scratch_.path() / kSafetensorsIndex);
    EXPECT_EQ(SafetensorsDirectory(scratch_.path()).tensors().size(), 1U);
    fs::remove(scratch_.path() / kSafetensorsFile);
    EXPECT_NE(message_of<CheckpointError>([&] { SafetensorsDirectory opened(scratch_.path()); }).find("holds no model"),
              std::string::npos);
}

// sign * 2^(exponent - bias) * 1.fraction, as the formats define their values.
double value_of(std::uint32_t bits, int fraction_bits, int exponent_bits) {
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const auto fraction = static_cast<double>(bits & ((1U << fraction_bits) - 1));
    const int exponent = static_cast<int>(bits >> fraction_bits & ((1U << exponent_bits) - 1));
    const double sign = bits >> (fraction_bits + exponent_bits) != 0 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1)
        return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
    const double mantissa = std::ldexp(fraction, -fraction_bits) + (exponent == 0 ? 0 : 1);
    return sign * std::ldexp(mantissa, std::max(exponent, 1) - bias);
}

TEST(FloatBits, EveryHalfHasItsValue) {
    for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
        for (const bool brain : {false, true}) {
            const double expected = brain ? value_of(bits, 7, 8) : value_of(bits, 10, 5);
            const auto half = static_cast<std::uint16_t>(bits);
            const auto found = static_cast<double>(brain ? f32_of_bf16(half) : f32_of_f16(half));
            ASSERT_TRUE(found == expected || (std::isnan(found) && std::isnan(expected))) << bits << " " << brain;
            ASSERT_EQ(std::signbit(found), bits >> 15 != 0) << bits;
        }
        if (!std::isnan(f32_of_bf16(static_cast<std::uint16_t>(bits)))) {
            ASSERT_EQ(bf16_of_f32(f32_of_bf16(static_cast<std::uint16_t>(bits))), bits);
        }
    }
}

TEST(FloatBits, Bf16RoundsToTheNearestAndTiesToEven) {
    const auto rounded = [](std::uint32_t bits) { return bf16_of_f32(std::bit_cast<float>(bits)); };
    EXPECT_EQ(rounded(0x3F807FFF), 0x3F80);
    EXPECT_EQ(rounded(0x3F808000), 0x3F80) << "a tie, to even";
    EXPECT_EQ(rounded(0x3F808001), 0x3F81);
    EXPECT_EQ(rounded(0x3F818000), 0x3F82) << "a tie, to even";
    EXPECT_EQ(rounded(0x7F7FFFFF), 0x7F80) << "too large: infinite";
    EXPECT_EQ(rounded(0xFF800000), 0xFF80);
    EXPECT_TRUE(std::isnan(f32_of_bf16(rounded(0x7F800001)))) << "a NaN whose last bits alone are set";
}

}  // namespace
}  // namespace kiban::checkpoint
