// SPDX-License-Identifier: Apache-2.0
#include "data/privacy/digits.h"

#include <algorithm>

namespace kiban::data {
namespace {

struct Separator {
    char meaning = 0;  // 0: none
    std::size_t bytes = 0;
};

// Hyphens and dashes as they are typed, also by Japanese input methods: hyphen, non-breaking hyphen, en dash, minus,
// full-width hyphen, long vowel mark.
constexpr std::array<std::string_view, 6> kDashes = {"\xE2\x80\x90", "\xE2\x80\x91", "\xE2\x80\x93",
                                                     "\xE2\x88\x92", "\xEF\xBC\x8D", "\xE3\x83\xBC"};

Separator separator_at(std::string_view text, std::size_t at) {
    if (at >= text.size()) return {};
    const char next = at + 1 < text.size() ? text[at + 1] : '\0';
    switch (text[at]) {
        case '-': return {'-', 1};
        case '.': return {'.', 1};
        case ' ': return next == '(' ? Separator{')', 2} : Separator{' ', 1};
        case ')': return {')', next == ' ' ? 2U : 1U};
        case '(': return {')', 1};
        default: break;
    }
    if (text[at] != '\xE2' && text[at] != '\xE3' && text[at] != '\xEF') return {};
    const bool dash = std::ranges::find(kDashes, text.substr(at, 3)) != kDashes.end();
    return dash ? Separator{'-', 3} : Separator{};
}

}  // namespace

bool is_alnum(char letter) {
    return (letter >= '0' && letter <= '9') || (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z');
}

Digit digit_at(std::string_view text, std::size_t at) {
    if (at >= text.size()) return {};
    if (text[at] >= '0' && text[at] <= '9') return {text[at], 1};
    if (at + 2 >= text.size() || text[at] != '\xEF' || text[at + 1] != '\xBC') return {};
    const auto last = static_cast<unsigned char>(text[at + 2]);
    if (last < 0x90 || last > 0x99) return {};
    return {static_cast<char>('0' + (last - 0x90)), 3};
}

Plain plain_at(std::string_view text, std::size_t at) {
    if (at >= text.size()) return {};
    const auto first = static_cast<unsigned char>(text[at]);
    if (first < 0x80) return {text[at], 1};
    if (first != 0xEF || at + 2 >= text.size()) return {};
    const auto second = static_cast<unsigned char>(text[at + 1]);
    const auto third = static_cast<unsigned char>(text[at + 2]);
    if ((second != 0xBC && second != 0xBD) || third < 0x80 || third > 0xBF) return {};
    const unsigned code = 0xF000U + (second - 0x80U) * 0x40U + (third - 0x80U);
    if (code < 0xFF01 || code > 0xFF5E) return {};
    return {static_cast<char>(code - 0xFF01 + '!'), 3};
}

bool has_digits(std::string_view text, std::size_t at, std::size_t least) {
    std::size_t count = 0;
    for (std::size_t group = 0; group < DigitRun::kMostGroups; ++group) {
        const std::size_t before = count;
        for (Digit digit = digit_at(text, at); digit.bytes > 0; digit = digit_at(text, at)) {
            if (++count == least) return true;
            at += digit.bytes;
        }
        const Separator next = separator_at(text, at);
        if (count == before || next.meaning == 0) return false;
        at += next.bytes;
    }
    return false;
}

DigitRun digits_from(std::string_view text, std::size_t at) {
    DigitRun run;
    run.text = text;
    char separator = 0;
    while (run.size < DigitRun::kMostGroups) {
        DigitGroup group{run.count, 0, at, separator};
        for (Digit digit = digit_at(text, at); digit.bytes > 0 && run.count < DigitRun::kMostDigits;
             digit = digit_at(text, at)) {
            run.digits[run.count++] = digit.value;
            ++group.length;
            at += digit.bytes;
        }
        if (group.length == 0) break;
        group.end = at;
        run.groups[run.size++] = group;
        const Separator next = separator_at(text, at);
        if (next.meaning == 0) break;
        separator = next.meaning;
        at += next.bytes;
    }
    return run;
}

bool DigitRun::ends_after(std::size_t n) const {
    const std::size_t end = groups[n - 1].end;
    if (end < text.size() && (is_alnum(text[end]) || digit_at(text, end).bytes > 0)) return false;
    return n == size || groups[n].separator == ' ' || groups[n].separator == ')';
}

bool DigitRun::uniform(std::size_t n) const {
    for (std::size_t i = 2; i < n; ++i) {
        if (groups[i].separator != groups[1].separator) return false;
    }
    return true;
}

}  // namespace kiban::data
