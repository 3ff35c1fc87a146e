// SPDX-License-Identifier: Apache-2.0
#include "data/privacy/marks.h"

#include <array>
#include <bit>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace kiban::data {
namespace {

constexpr std::size_t kBlock = 64;

struct Masks {  // one bit a byte
    std::uint64_t digits = 0;
    std::uint64_t others = 0;
};

#ifdef __SSE2__

// 16 bytes; part of every x86-64.
Masks masks_of_part(const char* bytes) {
    const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
    const auto is = [&](char letter) { return _mm_cmpeq_epi8(text, _mm_set1_epi8(letter)); };
    const __m128i above_zero = _mm_sub_epi8(text, _mm_set1_epi8('0'));
    const __m128i digits = _mm_cmpeq_epi8(_mm_min_epu8(above_zero, _mm_set1_epi8(9)), above_zero);
    const __m128i signs = _mm_or_si128(_mm_or_si128(is('@'), is(':')), _mm_or_si128(is('_'), is('-')));
    const __m128i letters = _mm_or_si128(_mm_or_si128(is('A'), is('J')), is('\xEF'));
    const auto bits = [](__m128i mask) { return static_cast<std::uint64_t>(_mm_movemask_epi8(mask)); };
    return {bits(digits), bits(_mm_or_si128(signs, letters))};
}

Masks masks_of(const char* block) {
    Masks masks;
    for (std::size_t i = 0; i < kBlock; i += 16) {
        const Masks part = masks_of_part(block + i);
        masks.digits |= part.digits << i;
        masks.others |= part.others << i;
    }
    return masks;
}

#else

Masks masks_of(const char* block) {
    Masks masks;
    for (std::size_t i = 0; i < kBlock; ++i) {
        const char letter = block[i];
        const bool digit = letter >= '0' && letter <= '9';
        const bool other = letter == '@' || letter == ':' || letter == '_' || letter == '-' || letter == 'A' ||
                           letter == 'J' || letter == '\xEF';
        masks.digits |= std::uint64_t{digit} << i;
        masks.others |= std::uint64_t{other} << i;
    }
    return masks;
}

#endif

bool is_digit(char letter) { return letter >= '0' && letter <= '9'; }

}  // namespace

std::size_t Marks::next(std::size_t at) {
    while (at < text_.size()) {
        const std::size_t block = at / kBlock;
        if (block != block_) load(block);
        const std::uint64_t ahead = marks_ & (~std::uint64_t{0} << at % kBlock);
        if (ahead != 0) return block * kBlock + static_cast<std::size_t>(std::countr_zero(ahead));
        at = (block + 1) * kBlock;
    }
    return text_.size();
}

void Marks::load(std::size_t block) {
    const std::string_view rest = text_.substr(block * kBlock);
    Masks masks;
    if (rest.size() >= kBlock) {
        masks = masks_of(rest.data());
    } else {
        std::array<char, kBlock> padded{};
        std::memcpy(padded.data(), rest.data(), rest.size());
        masks = masks_of(padded.data());
    }
    const std::uint64_t goes_on = block > 0 && is_digit(text_[block * kBlock - 1]) ? 1 : 0;
    marks_ = masks.others | (masks.digits & ~(masks.digits << 1 | goes_on));
    block_ = block;
}

}  // namespace kiban::data
