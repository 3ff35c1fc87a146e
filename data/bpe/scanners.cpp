// SPDX-License-Identifier: Apache-2.0
// Scanners for the pre-token patterns in wide use. Each alternative of a pattern is a branch below, in its order.
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <algorithm>
#include <array>
#include <bit>

#include "data/bpe/ascii_block.h"
#include "data/bpe/splitter.h"
#include "data/bpe/unicode.h"

namespace kiban::data {

const char* const kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char* const kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kGpt2PossessivePattern =
    R"('(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s)";
const char* const kCl100kPossessivePattern =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s)";

namespace {

using enum CharacterClass;

constexpr Grammar kGpt2{false, 0, false};
constexpr Grammar kLlama3{true, 3, false};
constexpr Grammar kQwen2{true, 1, false};
constexpr Grammar kCl100kPossessive{true, 3, true};

constexpr std::array<CharacterClass, 128> make_ascii() {
    std::array<CharacterClass, 128> classes{};
    for (unsigned c = 0; c < 128; ++c) {
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        const bool digit = c >= '0' && c <= '9';
        classes[c] = letter ? CharacterClass::letter : digit ? number : c == ' ' || (c >= 9 && c <= 13) ? space : other;
    }
    return classes;
}

constexpr std::array<CharacterClass, 128> kAscii = make_ascii();

template <Grammar kGrammar>
class Scanner : public Splitter {
  public:
    void begin(std::string_view text) override {
        text_ = text;
        at_ = 0;
        by_character_until_ = 0;
        wide_ = character_classes().data();
    }

    std::size_t next(std::span<std::uint32_t> ends) override {
        std::size_t count = 0;
        while (count + AsciiBlock::kBytes <= ends.size() && at_ + AsciiBlock::kBytes + 2 <= text_.size()) {
            if (at_ < by_character_until_ || !next_of_block(ends, count)) {
                at_ = piece_end(at_);
                ends[count++] = static_cast<std::uint32_t>(at_);
            }
        }
        for (; count < ends.size() && at_ < text_.size(); ++count) {
            at_ = piece_end(at_);
            ends[count] = static_cast<std::uint32_t>(at_);
        }
        return count;
    }

  private:
    struct Here {
        CharacterClass kind = other;
        std::uint32_t bytes = 0;  // 0 at the end of the text
    };

    /// The pieces that end in the next 64 bytes; false when there is none that it knows of.
    bool next_of_block(std::span<std::uint32_t> ends, std::size_t& count) {
        const AsciiBlock block(text_.data() + at_);
        if (block.length() < kWideBytes) by_character_until_ = at_ + kWideBytes;
        PieceStarts starts = starts_without_contractions<kGrammar>(block);
        for (std::uint64_t quotes = block.quotes & (starts.bits | 1); quotes != 0; quotes &= quotes - 1) {
            const auto quote = static_cast<unsigned>(std::countr_zero(quotes));
            if (quote >= starts.known) break;
            const std::size_t letters = contraction(at_ + quote + 1);
            if (letters == 0) continue;
            starts.bits &= ~bit(quote + 1);
            if (quote + 1 + letters < AsciiBlock::kBytes)
                starts.bits |= bit(quote + 1 + static_cast<unsigned>(letters));
        }
        std::uint64_t bits = starts.bits & bits_below(starts.known) & ~std::uint64_t{1};
        if (bits == 0) return false;
        const std::size_t begin = at_;
        for (; bits != 0; bits &= bits - 1) {
            at_ = begin + static_cast<std::size_t>(std::countr_zero(bits));
            ends[count++] = static_cast<std::uint32_t>(at_);
        }
        return true;
    }

    Here look(std::size_t at) const {
        if (at >= text_.size()) return {};
        const auto byte = static_cast<unsigned char>(text_[at]);
        if (byte < 128) return {kAscii[byte], 1};
        const Character character = decode_utf8(text_, at);
        return {wide_[character.code], character.bytes};
    }

    bool is(std::size_t at, char c) const { return at < text_.size() && text_[at] == c; }
    bool is_line_end(std::size_t at) const { return is(at, '\n') || is(at, '\r'); }

    std::size_t piece_end(std::size_t at) const {
        const Here first = look(at);
        if (first.kind == letter) return run_of_letters(at + first.bytes);
        if (is(at, '\'')) {
            if (const std::size_t bytes = contraction(at + 1); bytes != 0) return at + 1 + bytes;
        }
        const std::size_t second = at + first.bytes;
        if constexpr (kGrammar.words_take_any_prefix) {
            if (first.kind == number) return run_of_digits(second);
            if (!is_line_end(at)) {
                const Here next = look(second);
                if (next.bytes != 0 && next.kind == letter) return run_of_letters(second + next.bytes);
            }
            if (first.kind == other) return run_of_symbols(second);
            if (is(at, ' ') && is_symbol(second)) return run_of_symbols(second);
        } else {
            if (first.kind == number) return run_of(number, second);
            if (first.kind == other) return run_of(other, second);
            if (is(at, ' ')) {
                const Here next = look(second);
                if (next.bytes != 0 && next.kind == letter) return run_of_letters(second + next.bytes);
                if (next.bytes != 0 && next.kind != space) return run_of(next.kind, second + next.bytes);
            }
        }
        return run_of_spaces(at);
    }

    bool is_symbol(std::size_t at) const {
        const Here here = look(at);
        return here.bytes != 0 && here.kind == other;
    }

    std::size_t run_of(CharacterClass kind, std::size_t at) const {
        for (Here here = look(at); here.bytes != 0 && here.kind == kind; here = look(at)) at += here.bytes;
        return at;
    }

    // ASCII letters sixteen at a time; the words of a text are mostly shorter than that.
    std::size_t run_of_letters(std::size_t at) const {
#if defined(__SSE2__)
        while (at + 16 <= text_.size()) {
            const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text_.data() + at));
            const __m128i small = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
            const __m128i from_a = _mm_sub_epi8(small, _mm_set1_epi8('a'));
            const __m128i is_letter = _mm_cmpeq_epi8(_mm_min_epu8(from_a, _mm_set1_epi8(25)), from_a);
            const auto others = static_cast<std::uint32_t>(_mm_movemask_epi8(is_letter)) ^ 0xFFFFu;
            if (others == 0) {
                at += 16;
                continue;
            }
            at += static_cast<std::size_t>(std::countr_zero(others));
            if (static_cast<unsigned char>(text_[at]) < 128) return at;
            break;
        }
#endif
        return run_of(letter, at);
    }

    std::size_t run_of_digits(std::size_t at) const {
        for (unsigned digits = 1; digits < kGrammar.most_digits; ++digits) {
            const Here here = look(at);
            if (here.bytes == 0 || here.kind != number) break;
            at += here.bytes;
        }
        return at;
    }

    std::size_t run_of_symbols(std::size_t at) const {
        at = run_of(other, at);
        while (is_line_end(at)) ++at;
        return at;
    }

    // `at` is on white space that no word takes: all but the last character when a word follows, which may take that
    // one.
    std::size_t run_of_spaces(std::size_t at) const {
        std::size_t end = at;
        std::size_t last = at;
        std::size_t after_line_end = 0;
        for (Here here = look(at); here.bytes != 0 && here.kind == space; here = look(end)) {
            if (is_line_end(end)) after_line_end = end + 1;
            last = end;
            end += here.bytes;
        }
        if (kGrammar.end_is_one_piece && end == text_.size()) return end;
        if (kGrammar.words_take_any_prefix && after_line_end != 0) return after_line_end;
        return end == text_.size() || last == at ? end : last;
    }

    /// Bytes of what follows an apostrophe in 's, 't, 're, 've, 'm, 'll, 'd; 0 when that is something else.
    std::size_t contraction(std::size_t at) const {
        const char first = folded(at);
        const char second = folded(at + 1);
        switch (first) {
            case 's':
            case 't':
            case 'm':
            case 'd': return 1;
            case 'r':
            case 'v': return second == 'e' ? 2 : 0;
            case 'l': return second == 'l' ? 2 : 0;
            default: break;
        }
        // The long s is an s in another case.
        const bool long_s = kGrammar.words_take_any_prefix && is(at, '\xC5') && is(at + 1, '\xBF');
        return long_s ? 2 : 0;
    }

    char folded(std::size_t at) const {
        if (at >= text_.size()) return 0;
        const char c = text_[at];
        return kGrammar.words_take_any_prefix && c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
    }

    static constexpr unsigned kWideBytes = 24;  // where the next wide character is as near, blocks do not pay

    std::string_view text_;
    std::size_t at_ = 0;
    std::size_t by_character_until_ = 0;
    const CharacterClass* wide_ = nullptr;
};

template <Grammar kGrammar>
std::unique_ptr<Splitter> make_scanner() {
    return std::make_unique<Scanner<kGrammar>>();
}

}  // namespace

std::unique_ptr<Splitter> (*scanner_for(std::string_view pattern))() {
    if (pattern == kGpt2Pattern || pattern == kGpt2PossessivePattern) return &make_scanner<kGpt2>;
    if (pattern == kLlama3Pattern) return &make_scanner<kLlama3>;
    if (pattern == kQwen2Pattern) return &make_scanner<kQwen2>;
    if (pattern == kCl100kPossessivePattern) return &make_scanner<kCl100kPossessive>;
    return nullptr;
}

}  // namespace kiban::data
