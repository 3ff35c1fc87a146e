// SPDX-License-Identifier: Apache-2.0
#include "data/privacy/check_digits.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace kiban::data {
namespace {

unsigned digit_of(char letter) { return static_cast<unsigned>(letter - '0'); }

bool passes_luhn(std::string_view digits) {
    unsigned sum = 0;
    bool twice = false;
    for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit, twice = !twice) {
        const unsigned value = digit_of(*digit) * (twice ? 2 : 1);
        sum += value > 9 ? value - 9 : value;
    }
    return sum % 10 == 0;
}

unsigned leading(std::string_view digits, std::size_t count) {
    unsigned value = 0;
    for (const char digit : digits.substr(0, count)) value = value * 10 + digit_of(digit);
    return value;
}

// A product's number (EAN-13, of Japan when it begins with 45 or 49) is no card's.
bool is_product_number(std::string_view digits) {
    unsigned sum = 0;
    for (std::size_t i = 0; i < digits.size(); ++i) sum += digit_of(digits[i]) * (i % 2 == 0 ? 1 : 3);
    return digits.size() == 13 && sum % 10 == 0;
}

bool is_of_a_company(std::string_view digits) {
    const std::size_t length = digits.size();
    const unsigned two = leading(digits, 2);
    const unsigned four = leading(digits, 4);
    if (digits[0] == '4') return length == 13 || length == 16 || length == 19;
    if ((two >= 51 && two <= 55) || (four >= 2221 && four <= 2720)) return length == 16;
    if (two == 34 || two == 37) return length == 15;
    if (four >= 3528 && four <= 3589) return length >= 16;
    if (two == 36 || two == 38 || two == 39 || (four / 10 >= 300 && four / 10 <= 305)) return length >= 14;
    if (two == 62) return length >= 16;
    return (four == 6011 || two == 65 || (four / 10 >= 644 && four / 10 <= 649)) && length >= 16;
}

struct Country {
    std::string_view code;
    std::size_t length;
};

// Of the IBAN registry.
constexpr std::array<Country, 77> kCountries = {
    {{"AD", 24}, {"AE", 23}, {"AL", 28}, {"AT", 20}, {"AZ", 28}, {"BA", 20}, {"BE", 16}, {"BG", 22}, {"BH", 22},
     {"BR", 29}, {"BY", 28}, {"CH", 21}, {"CR", 22}, {"CY", 28}, {"CZ", 24}, {"DE", 22}, {"DK", 18}, {"DO", 28},
     {"EE", 20}, {"EG", 29}, {"ES", 24}, {"FI", 18}, {"FO", 18}, {"FR", 27}, {"GB", 22}, {"GE", 22}, {"GI", 23},
     {"GL", 18}, {"GR", 27}, {"GT", 28}, {"HR", 21}, {"HU", 28}, {"IE", 22}, {"IL", 23}, {"IQ", 23}, {"IS", 26},
     {"IT", 27}, {"JO", 30}, {"KW", 30}, {"KZ", 20}, {"LB", 28}, {"LC", 32}, {"LI", 21}, {"LT", 20}, {"LU", 20},
     {"LV", 21}, {"LY", 25}, {"MC", 27}, {"MD", 24}, {"ME", 22}, {"MK", 19}, {"MR", 27}, {"MT", 31}, {"MU", 30},
     {"NL", 18}, {"NO", 15}, {"PK", 24}, {"PL", 28}, {"PS", 29}, {"PT", 25}, {"QA", 29}, {"RO", 24}, {"RS", 22},
     {"SA", 24}, {"SC", 31}, {"SD", 18}, {"SE", 24}, {"SI", 19}, {"SK", 24}, {"SM", 27}, {"ST", 25}, {"SV", 28},
     {"TL", 23}, {"TN", 24}, {"TR", 26}, {"UA", 29}, {"XK", 20}}};

}  // namespace

bool is_card_number(std::string_view digits) {
    return digits.size() >= 13 && digits.size() <= 19 && is_of_a_company(digits) && passes_luhn(digits) &&
           !is_product_number(digits);
}

std::size_t iban_length(std::string_view country) {
    const auto* const found = std::ranges::find(kCountries, country, &Country::code);
    return found == kCountries.end() ? 0 : found->length;
}

bool is_iban(std::string_view letters) {
    if (letters.size() < 4 || letters.size() != iban_length(letters.substr(0, 2))) return false;
    unsigned rest = 0;
    const auto take = [&](char letter) {
        if (letter >= '0' && letter <= '9') {
            rest = (rest * 10 + digit_of(letter)) % 97;
        } else {
            rest = (rest * 100 + static_cast<unsigned>(letter - 'A') + 10) % 97;
        }
    };
    std::ranges::for_each(letters.substr(4), take);
    std::ranges::for_each(letters.substr(0, 4), take);
    return rest == 1;
}

bool is_my_number(std::string_view digits) {
    if (digits.size() != 12) return false;
    unsigned sum = 0;
    for (unsigned n = 1; n <= 11; ++n) sum += digit_of(digits[11 - n]) * (n <= 6 ? n + 1 : n - 5);
    const unsigned rest = sum % 11;
    return digit_of(digits[11]) == (rest <= 1 ? 0 : 11 - rest);
}

bool is_corporate_number(std::string_view digits) {
    if (digits.size() != 13) return false;
    unsigned sum = 0;
    for (unsigned n = 1; n <= 12; ++n) sum += digit_of(digits[13 - n]) * (n % 2 == 1 ? 1 : 2);
    return digit_of(digits[0]) == 9 - sum % 9;
}

}  // namespace kiban::data
