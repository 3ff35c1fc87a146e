// SPDX-License-Identifier: Apache-2.0
#include "monitoring/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace kiban::monitoring {
namespace {

constexpr std::array<std::uint32_t, 256> make_table() {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t value = i;
        for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82F63B78u : 0u);
        table[i] = value;
    }
    return table;
}

std::uint32_t portable(const std::byte* data, std::size_t size, std::uint32_t crc) {
    static constexpr auto table = make_table();
    for (std::size_t i = 0; i < size; ++i)
        crc = (crc >> 8) ^ table[(crc ^ static_cast<std::uint32_t>(data[i])) & 0xFFu];
    return crc;
}

#if defined(__x86_64__)
// One crc32 instruction waits three cycles for the one before it, and a core can begin one in each: three streams that
// know nothing of each other run at once. Their results are joined by what `kStreamBytes` bytes of zero would do to a
// register, a linear map kept as one table for each of its bytes.
constexpr std::size_t kStreamBytes = 1024;
using Shift = std::array<std::array<std::uint32_t, 256>, 4>;

constexpr Shift make_shift() {
    constexpr auto table = make_table();
    Shift shift{};
    for (std::size_t bit = 0; bit < 32; ++bit) {
        std::uint32_t image = 1u << bit;
        for (std::size_t i = 0; i < kStreamBytes; ++i) image = (image >> 8) ^ table[image & 0xFFu];
        for (std::size_t value = 0; value < 256; ++value) {
            if ((value >> (bit % 8) & 1) != 0) shift[bit / 8][value] ^= image;
        }
    }
    return shift;
}

std::uint32_t past_a_stream(std::uint32_t crc) {
    static constexpr Shift shift = make_shift();
    return shift[0][crc & 0xFFu] ^ shift[1][crc >> 8 & 0xFFu] ^ shift[2][crc >> 16 & 0xFFu] ^ shift[3][crc >> 24];
}

std::uint64_t word_at(const std::byte* data) {
    std::uint64_t word;
    std::memcpy(&word, data, sizeof word);
    return word;
}

__attribute__((target("sse4.2"))) std::uint32_t hardware(const std::byte* data, std::size_t size, std::uint32_t crc) {
    std::uint64_t wide = crc;
    for (; size >= 3 * kStreamBytes; data += 3 * kStreamBytes, size -= 3 * kStreamBytes) {
        std::uint64_t second = 0;
        std::uint64_t third = 0;
        for (std::size_t at = 0; at < kStreamBytes; at += 8) {
            wide = _mm_crc32_u64(wide, word_at(data + at));
            second = _mm_crc32_u64(second, word_at(data + kStreamBytes + at));
            third = _mm_crc32_u64(third, word_at(data + 2 * kStreamBytes + at));
        }
        const std::uint32_t both = past_a_stream(static_cast<std::uint32_t>(wide)) ^ static_cast<std::uint32_t>(second);
        wide = past_a_stream(both) ^ static_cast<std::uint32_t>(third);
    }
    for (; size >= 8; data += 8, size -= 8) wide = _mm_crc32_u64(wide, word_at(data));
    crc = static_cast<std::uint32_t>(wide);
    for (; size > 0; ++data, --size) crc = _mm_crc32_u8(crc, static_cast<unsigned char>(*data));
    return crc;
}
#endif

}  // namespace

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t previous) {
    const std::uint32_t start = ~previous;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) return ~hardware(bytes.data(), bytes.size(), start);
#endif
    return ~portable(bytes.data(), bytes.size(), start);
}

std::uint32_t crc32c_portable(std::span<const std::byte> bytes, std::uint32_t previous) {
    return ~portable(bytes.data(), bytes.size(), ~previous);
}

}  // namespace kiban::monitoring
