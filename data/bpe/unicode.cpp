// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/unicode.h"

#include "data/bpe/regex.h"

namespace kiban::data {
namespace {

constexpr char32_t kCodePoints = 0x110000;

bool is_surrogate(char32_t code) { return code >= 0xD800 && code < 0xE000; }

// Runs of one property over a text of all characters in order.
void mark(std::vector<CharacterClass>& classes, const std::string& all, const char* pattern, CharacterClass mark_as) {
    const Regex regex(pattern);
    Matcher matcher(regex);
    char32_t code = 0;
    std::size_t at = 0;
    while (const auto match = matcher.find(all, at)) {
        for (; at < match->end; ++code) {
            if (is_surrogate(code)) continue;
            if (at >= match->begin) classes[code] = mark_as;
            at += decode_utf8(all, at).bytes;
        }
    }
}

std::vector<CharacterClass> make_classes() {
    std::string all;
    for (char32_t code = 0; code < kCodePoints; ++code) {
        if (!is_surrogate(code)) append_utf8(all, code);
    }
    std::vector<CharacterClass> classes(kCodePoints, CharacterClass::other);
    mark(classes, all, "\\p{L}+", CharacterClass::letter);
    mark(classes, all, "\\p{N}+", CharacterClass::number);
    mark(classes, all, "\\s+", CharacterClass::space);
    return classes;
}

}  // namespace

const std::vector<CharacterClass>& character_classes() {
    static const std::vector<CharacterClass> classes = make_classes();
    return classes;
}

void append_utf8(std::string& text, char32_t code) {
    const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
    if (code < 0x80) return put(code);
    if (code < 0x800) {
        put(0xC0 | code >> 6);
    } else {
        if (code < 0x10000) {
            put(0xE0 | code >> 12);
        } else {
            put(0xF0 | code >> 18);
            put(0x80 | (code >> 12 & 0x3F));
        }
        put(0x80 | (code >> 6 & 0x3F));
    }
    put(0x80 | (code & 0x3F));
}

}  // namespace kiban::data
