// SPDX-License-Identifier: Apache-2.0
// Where pieces start in 64 bytes of ASCII text at once, for the grammars of data/bpe/scanners.cpp. Private to it.
//
// Bit i is about byte i. What a block cannot know (another character set, what follows it) it leaves to the scanner
// that goes character by character.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <algorithm>
#include <bit>
#include <cstdint>

namespace kiban::data {

struct Grammar {
    bool words_take_any_prefix;  // cl100k and its kin: one symbol or space before letters; GPT-2: a blank, before
                                 // anything
    unsigned most_digits;        // 0: any number
    bool end_is_one_piece;       // white space up to the end is one piece, whatever line ends it has
};

struct AsciiBlock {
    static constexpr unsigned kBytes = 64;

    std::uint64_t letters = 0;
    std::uint64_t numbers = 0;
    std::uint64_t spaces = 0;
    std::uint64_t line_ends = 0;
    std::uint64_t blanks = 0;
    std::uint64_t quotes = 0;
    std::uint64_t wide = 0;  // bytes that are no ASCII

    explicit AsciiBlock(const char* text);

    std::uint64_t symbols() const { return ~(letters | numbers | spaces | wide); }
    /// Bytes before the first that is no ASCII.
    unsigned length() const { return static_cast<unsigned>(std::countr_zero(wide)); }
};

#if defined(__SSE2__)
inline AsciiBlock::AsciiBlock(const char* text) {
    for (unsigned part = 0; part < 4; ++part) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text + 16 * part));
        const auto bits = [part](__m128i mask) {
            return static_cast<std::uint64_t>(static_cast<std::uint32_t>(_mm_movemask_epi8(mask))) << 16 * part;
        };
        const auto within = [&](__m128i x, char first, char last) {  // unsigned: what lies below wraps
            const __m128i from = _mm_sub_epi8(x, _mm_set1_epi8(first));
            const __m128i most = _mm_set1_epi8(static_cast<char>(last - first));
            return bits(_mm_cmpeq_epi8(_mm_min_epu8(from, most), from));
        };
        const auto is = [&](char c) { return bits(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(c))); };
        letters |= within(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), 'a', 'z');
        numbers |= within(bytes, '0', '9');
        blanks |= is(' ');
        spaces |= within(bytes, '\t', '\r');
        line_ends |= is('\n') | is('\r');
        quotes |= is('\'');
        wide |= bits(bytes);
    }
    spaces |= blanks;
}
#else
inline AsciiBlock::AsciiBlock(const char* text) {
    for (unsigned i = 0; i < kBytes; ++i) {
        const char c = text[i];
        const auto put = [i](std::uint64_t& bits, bool is) { bits |= std::uint64_t{is} << i; };
        put(letters, (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'));
        put(numbers, c >= '0' && c <= '9');
        put(blanks, c == ' ');
        put(spaces, c == ' ' || (c >= '\t' && c <= '\r'));
        put(line_ends, c == '\n' || c == '\r');
        put(quotes, c == '\'');
        put(wide, (static_cast<unsigned char>(c) & 0x80) != 0);
    }
}
#endif

inline std::uint64_t bit(unsigned i) { return std::uint64_t{1} << i; }
inline std::uint64_t bits_below(unsigned i) { return i >= 64 ? ~std::uint64_t{0} : bit(i) - 1; }
/// Of the run of ones that begins at bit i.
inline unsigned run_at(std::uint64_t bits, unsigned i) { return static_cast<unsigned>(std::countr_one(bits >> i)); }

struct PieceStarts {
    std::uint64_t bits = 0;
    unsigned known = 0;  // so many of the bits are right
};

/// White space with line ends: `\s*[\r\n]+` takes it up to the last of them, those right after a symbol are the
/// symbol's.
inline void cut_line_ends(const AsciiBlock& block, PieceStarts& starts) {
    std::uint64_t left = block.line_ends;
    while (left != 0) {
        const auto found = static_cast<unsigned>(std::countr_zero(left));
        const std::uint64_t before = ~block.spaces & bits_below(found);
        const auto begin = static_cast<unsigned>(std::bit_width(before));
        const unsigned end = found + run_at(block.spaces, found);
        if (end >= block.length()) {  // what follows it is not known
            starts.known = std::min(starts.known, begin);
            return;
        }
        unsigned first = begin;
        if (begin > 0 && (block.symbols() & bit(begin - 1)) != 0) first += run_at(block.line_ends, begin);
        if (first < end) starts.bits |= bit(first);
        const std::uint64_t lines = block.line_ends & bits_below(end) & ~bits_below(first);
        const auto after_last = static_cast<unsigned>(std::bit_width(lines));
        if (lines != 0 && after_last < end) starts.bits |= bit(after_last);
        left &= ~bits_below(end);
    }
}

inline void cut_digits(const AsciiBlock& block, unsigned most_digits, PieceStarts& starts) {
    std::uint64_t left = block.numbers & ~(block.numbers << 1);
    for (; left != 0; left &= left - 1) {
        const auto begin = static_cast<unsigned>(std::countr_zero(left));
        const unsigned end = begin + run_at(block.numbers, begin);
        for (unsigned i = begin + most_digits; i < end; i += most_digits) starts.bits |= bit(i);
    }
}

/// A piece starts at byte 0. Contractions are left to the caller: letters after a quote that starts a piece.
template <Grammar kGrammar>
PieceStarts starts_without_contractions(const AsciiBlock& block) {
    const std::uint64_t letters = block.letters;
    const std::uint64_t numbers = block.numbers;
    const std::uint64_t spaces = block.spaces;
    const std::uint64_t symbols = block.symbols();
    const std::uint64_t after_blank = block.blanks << 1;
    PieceStarts starts;
    starts.known = std::max(block.length(), 1u) - 1;  // a space must know what follows it
    if constexpr (kGrammar.words_take_any_prefix) {
        const std::uint64_t inner = spaces & ~block.line_ends;
        const std::uint64_t alone = symbols & ~(symbols << 1) & ~(symbols >> 1) & ~after_blank;
        starts.bits = letters & ~(letters << 1) & ~(inner << 1) & ~(alone << 1);
        starts.bits |= numbers & ~(numbers << 1);
        starts.bits |= symbols & ~(symbols << 1) & ~after_blank;
        starts.bits |= inner & ~(spaces >> 1);                                       // the last of a run
        starts.bits |= spaces & ~(spaces << 1) & ~(block.line_ends & symbols << 1);  // the first
        if (block.line_ends != 0) cut_line_ends(block, starts);
        if (kGrammar.most_digits != 0 && (numbers & numbers << 1) != 0) cut_digits(block, kGrammar.most_digits, starts);
    } else {
        const std::uint64_t same = (letters & letters << 1) | (numbers & numbers << 1) | (symbols & symbols << 1);
        starts.bits = (spaces & ~(spaces << 1 & spaces >> 1)) | (~spaces & ~same & ~after_blank);
    }
    return starts;
}

}  // namespace kiban::data
