// SPDX-License-Identifier: Apache-2.0
#include "monitoring/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace kiban::monitoring {
namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(const std::string& text) {
    Bytes bytes;
    for (const char character : text) bytes.push_back(static_cast<std::byte>(character));
    return bytes;
}

// Long division, one bit at a time.
std::uint32_t by_definition(const Bytes& bytes) {
    std::uint32_t remainder = 0xFFFFFFFFu;
    for (const std::byte byte : bytes) {
        for (unsigned bit = 0; bit < 8; ++bit) {
            const bool top = ((remainder ^ (static_cast<std::uint32_t>(byte) >> bit)) & 1u) != 0;
            remainder = (remainder >> 1) ^ (top ? 0x82F63B78u : 0u);
        }
    }
    return ~remainder;
}

Bytes random_bytes(std::size_t count) {
    std::mt19937 random(7);
    Bytes bytes(count);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() & 0xFFu);
    return bytes;
}

TEST(Crc32c, GivesTheValuesOfRfc3720) {
    EXPECT_EQ(crc32c(Bytes(32, std::byte{0x00})), 0x8A9136AAu);
    EXPECT_EQ(crc32c(Bytes(32, std::byte{0xFF})), 0x62A8AB43u);
    EXPECT_EQ(crc32c(bytes_of("123456789")), 0xE3069283u);
    EXPECT_EQ(crc32c({}), 0u);
}

TEST(Crc32c, EqualsItsDefinitionAtEveryLengthWithAndWithoutTheInstruction) {
    const Bytes bytes = random_bytes(100);
    for (std::size_t length = 0; length <= bytes.size(); ++length) {
        const Bytes part(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length));
        EXPECT_EQ(crc32c(part), by_definition(part)) << length;
        EXPECT_EQ(crc32c_portable(part), by_definition(part)) << length;
    }
}

// The instruction is used on three streams at once from 3072 bytes on.
TEST(Crc32c, OfLongInputIsTheSameWithAndWithoutTheInstruction) {
    const Bytes bytes = random_bytes(20'011);
    const std::span<const std::byte> all(bytes);
    EXPECT_EQ(crc32c(all.first(9217)), by_definition(Bytes(bytes.begin(), bytes.begin() + 9217)));
    for (const std::size_t length : {3071U, 3072U, 3073U, 3080U, 6143U, 6144U, 9215U, 9216U, 9217U, 20'000U}) {
        for (const std::size_t begin : {0U, 1U, 7U}) {
            const auto part = all.subspan(begin, length);
            EXPECT_EQ(crc32c(part), crc32c_portable(part)) << begin << ' ' << length;
            EXPECT_EQ(crc32c(part, 0x1234ABCDU), crc32c_portable(part, 0x1234ABCDU)) << begin << ' ' << length;
        }
    }
}

TEST(Crc32c, ContinuesFromAnyPlace) {
    const Bytes bytes = random_bytes(50);
    const std::span<const std::byte> all(bytes);
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
        EXPECT_EQ(crc32c(all.subspan(cut), crc32c(all.first(cut))), crc32c(all)) << cut;
        EXPECT_EQ(crc32c_portable(all.subspan(cut), crc32c_portable(all.first(cut))), crc32c(all)) << cut;
    }
}

TEST(Crc32c, SeesEveryFlippedBit) {
    Bytes bytes = random_bytes(40);
    const std::uint32_t intact = crc32c(bytes);
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
        bytes[bit / 8] ^= std::byte{1} << (bit % 8);
        EXPECT_NE(crc32c(bytes), intact) << bit;
        bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    }
}

}  // namespace
}  // namespace kiban::monitoring
