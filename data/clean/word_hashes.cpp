// SPDX-License-Identifier: Apache-2.0
#include "data/clean/word_hashes.h"

#include <xxhash.h>

#include <array>
#include <string>

namespace kiban::data {
namespace {

enum class Class : std::uint8_t { between, letter, word };  // `word`: one by itself

struct Character {
    std::size_t bytes = 1;
    Class kind = Class::between;
};

Class class_of(char32_t code) {
    if (code < 0xAA || code == 0xAB || code == 0xBB || code == 0xD7 || code == 0xF7) return Class::between;
    if (code >= 0x2000 && code < 0x2C00) return Class::between;  // spaces, punctuation, signs, arrows, boxes
    if (code < 0x2E80) return Class::letter;
    const bool mark = (code >= 0x3000 && code < 0x3005) || (code >= 0x3008 && code < 0x3021) || code == 0x30FB;
    const bool full_width_sign = (code >= 0xFF00 && code < 0xFF10) || (code >= 0xFF1A && code < 0xFF21) ||
                                 (code >= 0xFF3B && code < 0xFF41) || (code >= 0xFF5B && code < 0xFF66);
    return mark || full_width_sign || code == 0xFFFD ? Class::between : Class::word;
}

// One of more than one byte. Overlong forms and surrogates are taken as they come: it is no validation.
Character wide_at(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned first = byte(at);
    const std::size_t bytes = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || at + bytes > text.size()) return {};
    char32_t code = first & (0xFFU >> (bytes + 1));
    for (std::size_t i = 1; i < bytes; ++i) {
        if ((byte(at + i) & 0xC0U) != 0x80) return {};
        code = code << 6 | (byte(at + i) & 0x3FU);
    }
    return {bytes, class_of(code)};
}

constexpr std::array<char, 128> make_small_letters() {
    std::array<char, 128> letters{};  // 0 for what is no letter or digit
    for (char letter = 'a'; letter <= 'z'; ++letter) letters[static_cast<std::size_t>(letter)] = letter;
    for (char letter = 'A'; letter <= 'Z'; ++letter)
        letters[static_cast<std::size_t>(letter)] = static_cast<char>(letter + 32);
    for (char digit = '0'; digit <= '9'; ++digit) letters[static_cast<std::size_t>(digit)] = digit;
    return letters;
}
constexpr std::array<char, 128> kSmallLetters = make_small_letters();

class WordReader {
  public:
    explicit WordReader(std::string_view text) : text_(text) { words_.reserve(text.size() / 5); }

    std::vector<std::uint64_t> all() {
        for (std::size_t at = 0; at < text_.size();) {
            const auto byte = static_cast<unsigned char>(text_[at]);
            if (byte < 0x80) {
                if (kSmallLetters[byte] != 0) {
                    word_.push_back(kSmallLetters[byte]);
                } else {
                    end_word();
                }
                ++at;
                continue;
            }
            const Character character = wide_at(text_, at);
            if (character.kind != Class::letter) end_word();
            if (character.kind != Class::between) word_.append(text_, at, character.bytes);
            if (character.kind == Class::word) end_word();
            at += character.bytes;
        }
        end_word();
        return std::move(words_);
    }

  private:
    void end_word() {
        if (word_.empty()) return;
        words_.push_back(XXH3_64bits(word_.data(), word_.size()));
        word_.clear();
    }

    std::string_view text_;
    std::string word_;
    std::vector<std::uint64_t> words_;
};

}  // namespace

std::vector<std::uint64_t> word_hashes(std::string_view text) { return WordReader(text).all(); }

bool joins_words(std::string_view text, std::size_t at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    return byte < 0x80 ? kSmallLetters[byte] != 0 : wide_at(text, at).kind == Class::letter;
}

std::uint64_t run_hash(std::span<const std::uint64_t> words) {
    return XXH3_64bits(words.data(), words.size() * sizeof(words[0]));
}

}  // namespace kiban::data
