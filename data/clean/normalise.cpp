// SPDX-License-Identifier: Apache-2.0
#include "data/clean/normalise.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

namespace kiban::data {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kReplacementText = "\xEF\xBF\xBD";

unsigned byte_at(std::string_view text, std::size_t at) { return static_cast<unsigned char>(text[at]); }

struct Sequence {
    std::size_t bytes = 1;
    bool well_formed = false;
};

// Table 3-7 of the Unicode standard: which second bytes may follow a first byte.
Sequence sequence_at(std::string_view text, std::size_t at) {
    const unsigned first = byte_at(text, at);
    std::size_t length = 0;
    unsigned least = 0x80;
    unsigned most = 0xBF;
    if (first < 0x80) return {1, true};
    if (first >= 0xC2 && first <= 0xDF) length = 2;
    if (first >= 0xE0 && first <= 0xEF) length = 3;
    if (first >= 0xF0 && first <= 0xF4) length = 4;
    if (length == 0) return {};
    if (first == 0xE0) least = 0xA0;
    if (first == 0xED) most = 0x9F;
    if (first == 0xF0) least = 0x90;
    if (first == 0xF4) most = 0x8F;
    for (std::size_t i = 1; i < length; ++i) {
        if (at + i >= text.size() || byte_at(text, at + i) < least || byte_at(text, at + i) > most) return {i, false};
        least = 0x80;
        most = 0xBF;
    }
    return {length, true};
}

bool is_dropped_control(unsigned byte) { return (byte < 0x20 && byte != '\t' && byte != '\n') || byte == 0x7F; }

// Eight bytes of printable ASCII, tabs apart: nothing to do for them.
bool are_plain(const char* bytes) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes, sizeof(word));
    constexpr std::uint64_t kHigh = 0x8080808080808080;
    constexpr std::uint64_t kOnes = 0x0101010101010101;
    const std::uint64_t below_space = (word - kOnes * 0x20) & ~word;
    const std::uint64_t is_delete = ((word ^ kOnes * 0x7F) - kOnes) & ~(word ^ kOnes * 0x7F);
    return ((word | below_space | is_delete) & kHigh) == 0;
}

}  // namespace

NormaliseCounts normalise_text(std::string& text) {
    NormaliseCounts counts;
    std::string out;
    out.reserve(text.size());
    std::size_t at = 0;
    if (std::string_view(text).starts_with(kByteOrderMark)) {
        at = kByteOrderMark.size();
        counts.control_bytes += at;
    }
    while (at < text.size()) {
        std::size_t plain = at;
        while (plain + 8 <= text.size() && are_plain(text.data() + plain)) plain += 8;
        out.append(text, at, plain - at);
        at = plain;
        if (at == text.size()) break;
        const unsigned byte = byte_at(text, at);
        if (byte == '\r') {
            const bool pair = at + 1 < text.size() && text[at + 1] == '\n';
            out.push_back('\n');
            ++counts.line_ends;
            at += pair ? 2 : 1;
        } else if (is_dropped_control(byte)) {
            ++counts.control_bytes;
            ++at;
        } else {
            const Sequence sequence = sequence_at(text, at);
            if (sequence.well_formed) out.append(text, at, sequence.bytes);
            if (!sequence.well_formed) {
                out.append(kReplacementText);
                counts.ill_formed_bytes += sequence.bytes;
            }
            at += sequence.bytes;
        }
    }
    text = std::move(out);
    return counts;
}

}  // namespace kiban::data
