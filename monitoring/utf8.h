// SPDX-License-Identifier: Apache-2.0
// Text as characters: UTF-8 as RFC 3629 has it, without overlong forms and surrogates. Pure; any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace kiban::monitoring {

struct Character {
    char32_t code = 0;
    std::uint32_t bytes = 0;
};

inline constexpr char32_t kReplacement = 0xFFFD;

/// The character at `at` (below text.size()); for an ill-formed sequence the replacement character, of one byte.
Character decode_utf8(std::string_view text, std::size_t at);
bool is_utf8(std::string_view text);

}  // namespace kiban::monitoring
