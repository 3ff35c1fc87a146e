// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/segments.h"

namespace kiban::data {
namespace {

bool is_printable(unsigned char byte) { return byte > 0x20 && byte < 0x7F; }

bool is_letter(unsigned char byte) { return (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z'; }

// Lead bytes after which no white space follows (that has C2, E1, E2 and E3).
bool starts_no_space(unsigned char byte) {
    return is_printable(byte) || (byte >= 0xC3 && byte <= 0xDF) || (byte >= 0xE4 && byte <= 0xF4);
}

bool is_cut(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    if (byte(at - 1) == '\n') return starts_no_space(byte(at));
    return byte(at) == ' ' && at + 1 < text.size() && is_letter(byte(at + 1)) && is_printable(byte(at - 1));
}

// The last place in text[1, most] where it may be cut; without one, the last start of a character.
std::size_t last_cut(std::string_view text, std::size_t most) {
    for (std::size_t at = most; at > 0; --at) {
        if (is_cut(text, at)) return at;
    }
    std::size_t at = most;
    while (at > most - 3 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
    return at;
}

}  // namespace

void Segmenter::add(std::span<const std::byte> text, const Take& take) {
    constexpr std::size_t kSeen = kSegmentBytes + kContextBytes;
    pending_.append(reinterpret_cast<const char*>(text.data()), text.size());
    if (pending_.size() <= kSeen) return;
    std::string_view rest = pending_;
    while (rest.size() > kSeen) {
        const std::size_t stop = last_cut(rest.substr(0, kSeen), kSegmentBytes);
        take(rest.substr(0, stop + kContextBytes), stop);
        rest.remove_prefix(stop);
    }
    pending_.erase(0, pending_.size() - rest.size());
}

void Segmenter::end(const Take& take) {
    if (!pending_.empty()) take(pending_, pending_.size());
    pending_.clear();
}

}  // namespace kiban::data
