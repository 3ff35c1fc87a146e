// SPDX-License-Identifier: Apache-2.0
// Numbers that carry a check: exact tests, of digits (or letters) without separators.
#pragma once

#include <string_view>

namespace kiban::data {

/// ISO/IEC 7812-1, annex B (Luhn), and the numbers that card companies have.
bool is_card_number(std::string_view digits);
/// ISO 13616: the country's length, and ISO 7064 MOD 97-10. Capital letters.
bool is_iban(std::string_view letters);
/// Length of an IBAN that begins with these two letters; 0 for a country that has none.
std::size_t iban_length(std::string_view country);
/// Japan: Individual Number, 12 digits (Ordinance 85 of 2014 of the Ministry of Internal Affairs, article 5).
bool is_my_number(std::string_view digits);
/// Japan: Corporate Number, 13 digits, of which the first one checks (Ordinance 70 of 2014 of the Ministry of Finance).
bool is_corporate_number(std::string_view digits);

}  // namespace kiban::data
