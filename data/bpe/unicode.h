// SPDX-License-Identifier: Apache-2.0
// What pre-token patterns ask of a character: letter (\p{L}), number (\p{N}), white space (White_Space), or none of
// them.
//
// The table is made once a process from PCRE2's own properties, so that scanners and regular expressions cannot
// disagree; its Unicode version goes into what depends on it. A byte that is not part of well-formed UTF-8 counts as
// one U+FFFD.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "monitoring/utf8.h"

namespace kiban::data {

enum class CharacterClass : std::uint8_t { other, letter, number, space };

/// One byte a code point, indexed by it (0x110000 of them).
const std::vector<CharacterClass>& character_classes();

/// "14.0.0": the version of the tables in use.
std::string unicode_version();

using monitoring::Character;
using monitoring::decode_utf8;
using monitoring::is_utf8;
using monitoring::kReplacement;
void append_utf8(std::string& text, char32_t code);

}  // namespace kiban::data
