// SPDX-License-Identifier: Apache-2.0
#include "data/digest.h"

#include "monitoring/error.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

// FIPS 180-4 example values.
constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr const char* kMillionA = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Sha256, GivesThePublishedValues) {
    EXPECT_EQ(sha256("abc"), kAbc);
    EXPECT_EQ(sha256(""), kEmpty);
    Sha256 hash;
    for (int i = 0; i < 1000; ++i) hash.update(std::string(1000, 'a'));
    EXPECT_EQ(hash.finish(), kMillionA);
}

TEST(Sha256, OfAFileIsThatOfItsBytes) {
    const TempDirectory directory;
    for (const std::size_t bytes : {0u, 1u, (1u << 20) - 1, 1u << 20, (1u << 20) + 1, 3'000'000u}) {
        const std::string content = words(bytes, bytes);
        directory.write("file", content);
        EXPECT_EQ(sha256_of_file(directory / "file"), sha256(content)) << bytes;
    }
    EXPECT_NE(message_of<IoError>([&] { sha256_of_file(directory / "none"); }).find("none"), std::string::npos);
}

}  // namespace
}  // namespace kiban::data
