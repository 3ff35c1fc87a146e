// SPDX-License-Identifier: Apache-2.0
// The kinds of personal data and secrets that are looked for. Of two that overlap the one that stands first here wins.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kiban::data {

enum class Kind : std::uint8_t {
    secret,  // keys, tokens, passwords in addresses
    email,
    iban,
    card,              // payment cards
    my_number,         // of persons in Japan, 12 digits
    corporate_number,  // of companies in Japan, 13 digits
    phone,
    postal_code,  // of Japan
    ip,
    mac,
    name,  // of a list that the user gives (data/privacy/names.h)
};

inline constexpr std::array<std::string_view, 11> kKindNames = {
    "secret", "email", "iban", "card", "my_number", "corporate_number", "phone", "postal_code", "ip", "mac", "name"};
inline constexpr std::size_t kKinds = kKindNames.size();

using KindSet = std::bitset<kKinds>;  // indexed by Kind
inline KindSet all_kinds() { return KindSet().set(); }

/// What stands in the place of one that is taken out.
inline constexpr std::array<std::string_view, kKinds> kKindTags = {
    "SECRET", "EMAIL", "IBAN", "CARD", "MY_NUMBER", "CORPORATE_NUMBER", "PHONE", "POSTAL_CODE", "IP", "MAC", "NAME"};

inline std::string_view name_of(Kind kind) { return kKindNames[static_cast<std::size_t>(kind)]; }

struct Finding {  // bytes [begin, end) of a text
    std::size_t begin = 0;
    std::size_t end = 0;
    Kind kind = Kind::secret;

    bool operator==(const Finding&) const = default;
};

}  // namespace kiban::data
