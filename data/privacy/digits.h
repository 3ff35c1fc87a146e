// SPDX-License-Identifier: Apache-2.0
// Numbers as people write them: groups of digits (ASCII or full-width) with single separators between.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace kiban::data {

struct DigitGroup {
    std::size_t first = 0;  // of its digits in `digits`
    std::size_t length = 0;
    std::size_t end = 0;  // in the text, behind its last digit
    char separator = 0;   // before it: '-' (of any script), ' ', '.', ')' (parentheses); 0 before the first
};

struct DigitRun {
    static constexpr std::size_t kMostDigits = 40;
    static constexpr std::size_t kMostGroups = 8;

    std::array<char, kMostDigits> digits{};
    std::size_t count = 0;
    std::array<DigitGroup, kMostGroups> groups{};
    std::size_t size = 0;   // of groups
    std::string_view text;  // in which it stands

    /// The digits of the first `n` groups.
    std::string_view first(std::size_t n) const { return {digits.data(), groups[n - 1].first + groups[n - 1].length}; }
    /// Whether `lengths` are those of the first groups, and what follows them does not go on as a number or a word.
    template <std::size_t N>
    bool has(const std::array<std::size_t, N>& lengths) const {
        if (size < N) return false;
        for (std::size_t i = 0; i < N; ++i) {
            if (groups[i].length != lengths[i]) return false;
        }
        return ends_after(N);
    }
    bool ends_after(std::size_t n) const;
    /// Whether all separators of the first `n` groups are the same one.
    bool uniform(std::size_t n) const;
};

/// The character at `at` as a digit: its value and bytes; bytes 0 for anything else.
struct Digit {
    char value = 0;
    std::size_t bytes = 0;
};
Digit digit_at(std::string_view text, std::size_t at);

/// The ASCII character that stands at `at`, also in its full-width form (U+FF01 to U+FF5E); bytes 0 for anything else.
struct Plain {
    char letter = 0;
    std::size_t bytes = 0;
};
Plain plain_at(std::string_view text, std::size_t at);

/// Whether digits_from() would give that many. Most numbers in a text are short.
bool has_digits(std::string_view text, std::size_t at, std::size_t least);

/// From the digit at `at` on.
DigitRun digits_from(std::string_view text, std::size_t at);

bool is_alnum(char letter);

}  // namespace kiban::data
