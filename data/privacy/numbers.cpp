// SPDX-License-Identifier: Apache-2.0
#include "data/privacy/numbers.h"

#include <algorithm>
#include <initializer_list>
#include <string>

#include "data/privacy/check_digits.h"
#include "data/privacy/digits.h"

namespace kiban::data {
namespace {

using Lengths3 = std::array<std::size_t, 3>;
using Words = std::initializer_list<std::string_view>;

constexpr std::size_t kContextBytes = 32;

char lower(char letter) { return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter + 32) : letter; }

// Whether one of `words` (in small letters) stands shortly before `at`.
bool follows(std::string_view text, std::size_t at, Words words) {
    const std::size_t begin = at > kContextBytes ? at - kContextBytes : 0;
    std::string before(text.substr(begin, at - begin));
    std::ranges::transform(before, before.begin(), lower);
    return std::ranges::any_of(words, [&](std::string_view word) { return before.find(word) != std::string::npos; });
}

bool names_a_phone(std::string_view text, std::size_t at) {
    return follows(text, at, {"tel", "phone", "fax", "mobile", "電話", "携帯", "ＴＥＬ", "ＦＡＸ"});
}

std::size_t card_groups(const DigitRun& run) {
    if (run.size > 0 && run.groups[0].length >= 13 && run.ends_after(1)) return 1;
    const bool spaced = run.size > 1 && (run.groups[1].separator == '-' || run.groups[1].separator == ' ');
    if (!spaced) return 0;
    if (run.has(std::array<std::size_t, 5>{4, 4, 4, 4, 3}) && run.uniform(5)) return 5;
    if (run.has(std::array<std::size_t, 4>{4, 4, 4, 4}) && run.uniform(4)) return 4;
    if ((run.has(Lengths3{4, 6, 5}) || run.has(Lengths3{4, 6, 4})) && run.uniform(3)) return 3;
    return 0;
}

std::size_t my_number_groups(const DigitRun& run, std::size_t at) {
    const bool grouped = run.has(Lengths3{4, 4, 4}) && run.uniform(3) && run.groups[1].separator != '.';
    const bool plain = run.groups[0].length == 12 && run.ends_after(1);
    const std::size_t groups = grouped ? 3 : plain ? 1 : 0;
    if (groups == 0 || !is_my_number(run.first(groups))) return 0;
    // Four groups of four are a card's, with a wrong digit perhaps.
    const bool of_four =
        run.size > 3 && run.groups[3].length == 4 && run.groups[3].separator == run.groups[1].separator;
    if (grouped && !of_four) return groups;
    const bool named =
        follows(run.text, at, {"マイナンバー", "個人番号", "my number", "mynumber", "individual number"});
    return named ? groups : 0;
}

std::size_t corporate_groups(const DigitRun& run, std::size_t at) {
    const bool plain = run.groups[0].length == 13 && run.ends_after(1);
    const bool grouped = run.has(std::array<std::size_t, 4>{1, 4, 4, 4}) && run.uniform(4);
    const std::size_t groups = plain ? 1 : grouped ? 4 : 0;
    if (groups == 0 || !is_corporate_number(run.first(groups))) return 0;
    const bool invoice = at > 0 && run.text[at - 1] == 'T';
    return invoice || follows(run.text, at, {"法人番号", "登録番号", "corporate number"}) ? groups : 0;
}

bool is_toll_free(std::string_view digits) {
    return digits.starts_with("0120") || digits.starts_with("0570") || digits.starts_with("0990");
}

bool is_japanese_mobile(std::string_view digits) {
    return digits.size() == 11 && digits[0] == '0' && digits[2] == '0' && digits[1] >= '5' && digits[1] != '6';
}

// Groups of a number in Japan's plan: 0 and the rest of an area, an exchange, a subscriber.
std::size_t japanese_groups(const DigitRun& run, std::size_t at) {
    if (run.digits[0] != '0' || run.count < 10) return 0;
    if (run.groups[0].length >= 10) {
        if (!run.ends_after(1)) return 0;
        const std::string_view digits = run.first(1);
        const bool certain = is_japanese_mobile(digits) || (digits.size() == 10 && is_toll_free(digits));
        const bool landline = digits.size() == 10 && digits[1] != '0' && names_a_phone(run.text, at);
        return certain || landline ? 1 : 0;
    }
    if (run.size < 3 || !run.ends_after(3) || run.groups[1].separator == '.') return 0;
    const std::string_view digits = run.first(3);
    if (run.has(Lengths3{3, 4, 4}) && is_japanese_mobile(digits)) return 3;
    if (run.has(Lengths3{4, 3, 3}) && is_toll_free(digits)) return 3;
    if (run.has(Lengths3{4, 3, 4}) && digits.starts_with("0800")) return 3;
    const std::size_t area = run.groups[0].length;
    const bool landline = area >= 2 && area <= 5 && area + run.groups[1].length == 6 && run.groups[2].length == 4;
    return landline && digits[1] != '0' ? 3 : 0;
}

// Behind a '+': ITU-T E.164, at most 15 digits with the country's; by itself at least 10.
std::size_t international_groups(const DigitRun& run) {
    if (run.digits[0] == '0') return 0;
    std::size_t best = 0;
    for (std::size_t n = 1; n <= std::min<std::size_t>(run.size, 6); ++n) {
        const std::size_t digits = run.first(n).size();
        if (digits > 15) break;
        if (run.ends_after(n) && digits >= (n == 1 ? 10U : 8U)) best = n;
    }
    return best;
}

bool is_north_american(const DigitRun& run) {
    if (!run.has(Lengths3{3, 3, 4}) || run.digits[0] < '2' || run.digits[3] < '2') return false;
    const char first = run.groups[1].separator;
    const char second = run.groups[2].separator;
    return first != ' ' && (second == first || (first == ')' && second == '-'));
}

bool is_postal_code(const DigitRun& run, std::size_t at) {
    const bool formed = run.size >= 2 && run.groups[0].length == 3 && run.groups[1].length == 4 &&
                        run.groups[1].separator == '-' && run.ends_after(2);
    const bool plain = run.groups[0].length == 7 && run.ends_after(1);
    if (!formed && !plain) return false;
    const std::string_view before = run.text.substr(0, at);
    if (before.ends_with("〒") || before.ends_with("〒 ")) return true;
    if (follows(run.text, at, {"郵便番号", "postal code"})) return true;
    if (!formed) return false;
    // Before the name of a prefecture, of which the longest has four characters.
    const std::string_view after = run.text.substr(run.groups[1].end, 4 * 3 + 4);
    return std::ranges::any_of(Words{"東京都", "北海道", "京都府", "大阪府"},
                               [&](std::string_view name) { return after.find(name) != std::string_view::npos; }) ||
           after.find("県") != std::string_view::npos;
}

std::optional<Finding> phone_at(const DigitRun& run, std::size_t at) {
    const std::string_view text = run.text;
    const bool plus = at > 0 && text[at - 1] == '+' && (at == 1 || !is_alnum(text[at - 2]));
    const bool open = at > 0 && text[at - 1] == '(';
    if (plus) {
        const std::size_t groups = international_groups(run);
        return groups == 0 ? std::nullopt : std::optional(Finding{at - 1, run.groups[groups - 1].end, Kind::phone});
    }
    const std::size_t begin = open && run.size > 1 && run.groups[1].separator == ')' ? at - 1 : at;
    if (const std::size_t groups = japanese_groups(run, at))
        return Finding{begin, run.groups[groups - 1].end, Kind::phone};
    if (is_north_american(run)) return Finding{begin, run.groups[2].end, Kind::phone};
    return std::nullopt;
}

}  // namespace

std::optional<Finding> number_at(std::string_view text, std::size_t at, const KindSet& wanted) {
    constexpr std::size_t kLeastDigits = 7;
    if (!has_digits(text, at, kLeastDigits)) return std::nullopt;
    const DigitRun run = digits_from(text, at);
    const auto wants = [&](Kind kind) { return wanted.test(static_cast<std::size_t>(kind)); };
    const auto found = [&](std::size_t groups, Kind kind) { return Finding{at, run.groups[groups - 1].end, kind}; };
    if (const std::size_t groups = corporate_groups(run, at); groups != 0 && wants(Kind::corporate_number))
        return found(groups, Kind::corporate_number);
    if (const std::size_t groups = card_groups(run);
        groups != 0 && wants(Kind::card) && is_card_number(run.first(groups)))
        return found(groups, Kind::card);
    if (const std::size_t groups = my_number_groups(run, at); groups != 0 && wants(Kind::my_number))
        return found(groups, Kind::my_number);
    if (const auto phone = phone_at(run, at); phone && wants(Kind::phone)) return phone;
    if (wants(Kind::postal_code) && is_postal_code(run, at))
        return found(run.groups[0].length == 7 ? 1 : 2, Kind::postal_code);
    return std::nullopt;
}

std::optional<Finding> iban_at(std::string_view text, std::size_t at) {
    const std::size_t begin = at - 2;
    const std::size_t length = iban_length(text.substr(begin, 2));
    if (length == 0) return std::nullopt;
    std::string letters;
    std::size_t end = begin;
    while (end < text.size() && letters.size() < length) {
        const char letter = text[end];
        const bool capital = (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9');
        const bool gap = (letter == ' ' || letter == '-') && letters.size() % 4 == 0;
        if (!capital && !gap) return std::nullopt;
        if (capital) letters.push_back(letter);
        ++end;
    }
    if (!is_iban(letters) || (end < text.size() && is_alnum(text[end]))) return std::nullopt;
    return Finding{begin, end, Kind::iban};
}

}  // namespace kiban::data
