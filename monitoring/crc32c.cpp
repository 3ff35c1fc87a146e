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
__attribute__((target("sse4.2"))) std::uint32_t hardware(const std::byte* data, std::size_t size, std::uint32_t crc) {
    std::uint64_t wide = crc;
    for (; size >= 8; data += 8, size -= 8) {
        std::uint64_t word;
        std::memcpy(&word, data, 8);
        wide = _mm_crc32_u64(wide, word);
    }
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
