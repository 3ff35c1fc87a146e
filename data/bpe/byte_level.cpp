// SPDX-License-Identifier: Apache-2.0
// GPT-2's map of bytes to printable characters: printable Latin-1 bytes stand for themselves, the others, in order, for
// U+0100 and what follows.
#include <array>
#include <map>

#include "data/bpe/definition.h"
#include "data/bpe/unicode.h"

namespace kiban::data {
namespace {

std::array<char32_t, 256> make_characters() {
    std::array<char32_t, 256> characters{};
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
        const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
        characters[byte] = printable ? byte : next++;
    }
    return characters;
}

const std::array<char32_t, 256>& characters() {
    static const auto made = make_characters();
    return made;
}

std::map<char32_t, char> make_bytes() {
    std::map<char32_t, char> bytes;
    for (std::size_t byte = 0; byte < 256; ++byte) bytes[characters()[byte]] = static_cast<char>(byte);
    return bytes;
}

}  // namespace

std::string to_byte_level(std::string_view bytes) {
    std::string text;
    for (const char byte : bytes) append_utf8(text, characters()[static_cast<unsigned char>(byte)]);
    return text;
}

bool from_byte_level(std::string_view text, std::string& bytes) {
    static const std::map<char32_t, char> byte_of = make_bytes();
    bytes.clear();
    for (std::size_t at = 0; at < text.size();) {
        const Character character = decode_utf8(text, at);
        const auto found = byte_of.find(character.code);
        if (found == byte_of.end()) return false;
        bytes.push_back(found->second);
        at += character.bytes;
    }
    return true;
}

}  // namespace kiban::data
