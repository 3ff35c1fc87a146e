// SPDX-License-Identifier: Apache-2.0
#include "data/h5.h"

#include <array>
#include <cstring>
#include <optional>

#include "data/h5_image.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

TEST(H5, AttributesComeBackAsTheyWereWritten) {
    const TempDirectory directory;
    const std::lock_guard lock(h5_mutex());
    {
        H5Handle file = h5_create(directory / "a.h5");
        h5_write_attribute(file.id(), "text", "a 基盤 b");
        h5_write_attribute(file.id(), "empty", "");
        h5_write_attribute(file.id(), "large", ~std::uint64_t{0});
        file.close();
    }
    H5Handle file = h5_open(directory / "a.h5");
    EXPECT_EQ(h5_read_string_attribute(file.id(), "text"), "a 基盤 b");
    EXPECT_EQ(h5_read_string_attribute(file.id(), "empty"), "");
    EXPECT_EQ(h5_read_integer_attribute(file.id(), "large"), ~std::uint64_t{0});
    EXPECT_NE(message_of<IoError>([&] { h5_read_string_attribute(file.id(), "none"); }).find("'none'"),
              std::string::npos);
    EXPECT_NE(message_of<IoError>([&] { h5_read_string_attribute(file.id(), "large"); }).find("expected one string"),
              std::string::npos);
    EXPECT_NE(message_of<IoError>([&] { h5_read_integer_attribute(file.id(), "text"); }).find("expected one integer"),
              std::string::npos);
}

TEST(H5, PayloadWrittenPastTheLibraryIsReadBackByIt) {
    const TempDirectory directory;
    const std::lock_guard lock(h5_mutex());
    std::array<std::uint32_t, 6> values{1, 2, 3, 5, 8, 13};
    std::uint64_t offset = 0;
    {
        H5Handle file = h5_create(directory / "a.h5");
        const std::array<hsize_t, 2> shape{2, 3};
        H5Handle dataset = h5_raw_dataset(file.id(), "table", H5T_STD_U32LE, shape);
        offset = h5_payload_offset(dataset.id(), "table");
        dataset.close();
        file.close();
    }
    auto raw = monitoring::File::open_write(directory / "a.h5");
    raw.write_at(offset, std::as_bytes(std::span(values)));
    raw.close();
    H5Handle file = h5_open(directory / "a.h5");
    H5Handle dataset(H5Dopen2(file.id(), "table", H5P_DEFAULT), H5Dclose, "open 'table'");
    std::array<std::uint32_t, 6> read{};
    h5_check(H5Dread(dataset.id(), H5T_NATIVE_UINT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, read.data()), "read 'table'");
    EXPECT_EQ(read, values);
}

TEST(H5, AnImageInMemoryIsSparseAndIsTheFileOnceItsExtentsAreWritten) {
    constexpr std::uint64_t kElements = std::uint64_t{1} << 28;  // 1 GiB reserved, never filled
    const TempDirectory directory;
    const std::lock_guard lock(h5_mutex());
    H5Image image("a.h5");
    h5_write_attribute(image.file(), "text", "kept");
    H5Handle table = h5_raw_dataset(image.file(), "table", H5T_STD_U32LE, std::array<hsize_t, 1>{kElements});
    const std::uint64_t offset = h5_payload_offset(table.id(), "table");
    table.close();
    const H5Bytes bytes = image.finish();
    EXPECT_GE(bytes.bytes, offset + kElements * 4);
    std::uint64_t written = 0;
    auto raw = monitoring::File::create(directory / "a.h5");
    raw.truncate(bytes.bytes);
    for (const auto& extent : bytes.extents) {
        written += extent.bytes.size();
        raw.write_at(extent.offset, extent.bytes);
    }
    const std::array<std::uint32_t, 2> values{7, 9};
    raw.write_at(offset, std::as_bytes(std::span(values)));
    raw.close();
    EXPECT_LT(written, 64U << 10);
    H5Handle file = h5_open(directory / "a.h5");
    EXPECT_EQ(h5_read_string_attribute(file.id(), "text"), "kept");
    H5Handle dataset(H5Dopen2(file.id(), "table", H5P_DEFAULT), H5Dclose, "open 'table'");
    H5Handle part(H5Dget_space(dataset.id()), H5Sclose, "select");
    const std::array<hsize_t, 1> begin{0}, count{2};
    h5_check(H5Sselect_hyperslab(part.id(), H5S_SELECT_SET, begin.data(), nullptr, count.data(), nullptr), "select");
    H5Handle memory(H5Screate_simple(1, count.data(), nullptr), H5Sclose, "make a space");
    std::array<std::uint32_t, 2> read{};
    h5_check(H5Dread(dataset.id(), H5T_NATIVE_UINT32, memory.id(), part.id(), H5P_DEFAULT, read.data()), "read");
    EXPECT_EQ(read, values);
}

TEST(H5, LargePayloadStartsAtAPage) {
    const TempDirectory directory;
    const std::lock_guard lock(h5_mutex());
    H5Handle file = h5_create(directory / "a.h5");
    for (const char* name : {"x", "y"}) {
        const std::array<hsize_t, 1> shape{5000};
        H5Handle dataset = h5_raw_dataset(file.id(), name, H5T_STD_U8LE, shape);
        EXPECT_EQ(h5_payload_offset(dataset.id(), name) % 4096, 0u) << name;
    }
}

TEST(H5, SameContentGivesTheSameBytes) {
    const TempDirectory directory;
    for (const char* name : {"a.h5", "b.h5"}) {
        H5Handle file = h5_create(directory / name);
        h5_write_attribute(file.id(), "version", 1);
        const std::array<hsize_t, 1> shape{300};
        h5_raw_dataset(file.id(), "x", H5T_STD_U8LE, shape).close();
        file.close();
    }
    EXPECT_EQ(read_file(directory / "a.h5"), read_file(directory / "b.h5"));
}

TEST(H5, ErrorsNameTheFileAndTheLibrarysReason) {
    const TempDirectory directory;
    EXPECT_NE(message_of<IoError>([&] { h5_open(directory / "none.h5"); }).find("none.h5"), std::string::npos);
    directory.write("text.h5", "no HDF5 at all");
    EXPECT_NE(message_of<IoError>([&] { h5_open(directory / "text.h5"); }).find("file signature not found"),
              std::string::npos);
    EXPECT_NE(message_of<IoError>([&] { h5_create(directory / "text.h5"); }).find("text.h5"), std::string::npos);
    EXPECT_EQ(read_file(directory / "text.h5"), "no HDF5 at all");
}

int closed = 0;

TEST(H5, AHandleClosesOnceAndTellsWhenThatFails) {
    closed = 0;
    const auto count = [](hid_t) -> herr_t { return ++closed, 0; };
    {
        H5Handle first(7, count, "make it");
        H5Handle second(std::move(first));
        H5Handle third(8, count, "make it");
        third = std::move(second);
        EXPECT_EQ(third.id(), 7);
    }
    EXPECT_EQ(closed, 2);
    H5Handle stubborn(
        9, [](hid_t) -> herr_t { return -1; }, "make it");
    EXPECT_THROW(stubborn.close(), IoError);
    EXPECT_NE(message_of<IoError>([&] { H5Handle(-1, count, "make the impossible"); }).find("make the impossible"),
              std::string::npos);
}

}  // namespace
}  // namespace kiban::data
