// SPDX-License-Identifier: Apache-2.0
#include "monitoring/utf8.h"

namespace kiban::monitoring {
namespace {

constexpr char32_t kCodePoints = 0x110000;

bool is_surrogate(char32_t code) { return code >= 0xD800 && code < 0xE000; }
bool is_continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

}  // namespace

Character decode_utf8(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
    const std::size_t left = text.size() - at;
    const unsigned char lead = byte(0);
    if (lead < 0x80) return {lead, 1};
    constexpr Character kBad{kReplacement, 1};
    if (lead < 0xC2 || left < 2 || !is_continuation(byte(1))) return kBad;
    if (lead < 0xE0) return {static_cast<char32_t>((lead & 0x1F) << 6 | (byte(1) & 0x3F)), 2};
    if (left < 3 || !is_continuation(byte(2))) return kBad;
    if (lead < 0xF0) {
        const auto code = static_cast<char32_t>((lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F));
        return code < 0x800 || is_surrogate(code) ? kBad : Character{code, 3};
    }
    if (lead > 0xF4 || left < 4 || !is_continuation(byte(3))) return kBad;
    const auto code =
        static_cast<char32_t>((lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F));
    return code < 0x10000 || code >= kCodePoints ? kBad : Character{code, 4};
}

bool is_utf8(std::string_view text) {
    for (std::size_t at = 0; at < text.size();) {
        if (static_cast<unsigned char>(text[at]) < 0x80) {
            ++at;
            continue;
        }
        const Character character = decode_utf8(text, at);
        if (character.bytes == 1) return false;
        at += character.bytes;
    }
    return true;
}

}  // namespace kiban::monitoring
