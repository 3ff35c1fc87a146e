// SPDX-License-Identifier: Apache-2.0
#include "data/privacy/addresses.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <string>

#include "data/privacy/digits.h"

namespace kiban::data {
namespace {

constexpr std::size_t kMostLocal = 64;  // RFC 5321, 4.5.3.1
constexpr std::size_t kMostDomain = 255;

// Other signs may stand in an address, too, but stand more often before one: "?mail=bob@example.org".
bool is_local(char letter) {
    return is_alnum(letter) || std::string_view("._%+-~'").find(letter) != std::string_view::npos;
}
// What stands before an address as often as in it does not begin one.
bool begins_local(char letter) { return is_alnum(letter) || letter == '_' || letter == '+'; }

bool is_hex(char letter) {
    return (letter >= '0' && letter <= '9') || (letter >= 'a' && letter <= 'f') || (letter >= 'A' && letter <= 'F');
}
bool is_letter(char letter) { return is_alnum(letter) && !(letter >= '0' && letter <= '9'); }

bool is_byte(std::string_view text, std::size_t at, unsigned least, unsigned most) {
    return at < text.size() && static_cast<unsigned char>(text[at]) >= least &&
           static_cast<unsigned char>(text[at]) <= most;
}

// What a domain is made of; ASCII's signs also in their full-width form.
enum class Sign : std::uint8_t { none, letter, digit, foreign, hyphen, dot };
struct SignAt {
    Sign sign = Sign::none;
    std::size_t bytes = 0;
};

// A letter of Latin, Greek, Cyrillic and their neighbours (U+00C0 to U+07FF) is one like ASCII's; foreign are kana, Han
// and Hangul, which also stand behind an address without a space.
SignAt sign_at(std::string_view text, std::size_t at) {
    if (const Plain plain = plain_at(text, at); plain.bytes > 0) {
        if (plain.letter == '.') return {Sign::dot, plain.bytes};
        if (plain.letter == '-') return {Sign::hyphen, plain.bytes};
        if (!is_alnum(plain.letter)) return {};
        return {is_letter(plain.letter) ? Sign::letter : Sign::digit, plain.bytes};
    }
    if (is_byte(text, at, 0xC3, 0xDF) && is_byte(text, at + 1, 0x80, 0xBF)) return {Sign::letter, 2};
    const bool signs_of_japan = is_byte(text, at, 0xE3, 0xE3) && is_byte(text, at + 1, 0x80, 0x80);
    const bool three = is_byte(text, at, 0xE3, 0xED) && is_byte(text, at + 1, 0x80, 0xBF) && at + 2 < text.size();
    return three && !signs_of_japan ? SignAt{Sign::foreign, 3} : SignAt{};
}

struct Label {
    std::size_t end = 0;  // without hyphens at its end
    std::size_t top = 0;  // where a top-level domain in it ends; 0 for none
};

Label label_at(std::string_view text, std::size_t begin, std::size_t most) {
    Label label{begin, 0};
    const bool coded = text.substr(begin, 4) == "xn--";
    bool in_word = true;
    bool of_letters = true;
    std::size_t letters = 0;
    std::size_t word_end = begin;
    for (std::size_t at = begin; at < most;) {
        const SignAt next = sign_at(text, at);
        const bool inside = next.sign != Sign::none && next.sign != Sign::dot;
        if (!inside || (next.sign == Sign::hyphen && at == begin)) break;
        at += next.bytes;
        if (next.sign != Sign::hyphen) label.end = at;
        // Behind a hyphen the text goes on: "bob@example.org-based", and so it does in Japanese.
        in_word = in_word && next.sign != Sign::foreign && (next.sign != Sign::hyphen || coded);
        if (!in_word) continue;
        of_letters = of_letters && (coded || next.sign == Sign::letter);
        ++letters;
        word_end = label.end;
    }
    if (of_letters && letters >= 2) label.top = word_end;
    return label;
}

// The end of a domain of at least two labels, of which the last is no number; 0 for none.
std::size_t domain_end(std::string_view text, std::size_t begin) {
    std::size_t end = 0;
    for (std::size_t at = begin;;) {
        const Label label = label_at(text, at, begin + kMostDomain);
        if (label.end == at) return end;
        if (at > begin && label.top != 0) end = label.top;
        const SignAt next = sign_at(text, label.end);
        if (next.sign != Sign::dot) return end;
        at = label.end + next.bytes;
    }
}

// The bytes of the character before `at` when it may stand in front of an '@'; 0 for any other.
std::size_t local_before(std::string_view text, std::size_t at) {
    if (at >= 1 && is_local(text[at - 1])) return 1;
    if (at >= 2 && is_byte(text, at - 2, 0xC3, 0xDF) && is_byte(text, at - 1, 0x80, 0xBF)) return 2;
    if (at < 3) return 0;
    const Plain wide = plain_at(text, at - 3);
    return wide.bytes == 3 && is_local(wide.letter) ? 3 : 0;
}
bool begins_local(std::string_view text, std::size_t at) {
    const Plain plain = plain_at(text, at);
    return plain.bytes == 0 || begins_local(plain.letter);
}

// Whether a ':' stands behind a word that is no group of an address: "MAC:00:1A:...", "ip:2001:db8::1".
bool is_behind_label(std::string_view text, std::size_t colon) {
    std::size_t begin = colon;
    while (begin > 0 && colon - begin < 5 && is_alnum(text[begin - 1])) --begin;
    const std::string_view word = text.substr(begin, colon - begin);
    if (word.empty()) return colon == 0 || text[colon - 1] != ':';
    return word.size() > 4 || !std::ranges::all_of(word, is_hex);
}

}  // namespace

std::optional<Finding> email_at(std::string_view text, std::size_t at, std::size_t at_bytes) {
    std::size_t begin = at;
    for (std::size_t letters = 0; letters < kMostLocal; ++letters) {
        const std::size_t bytes = local_before(text, begin);
        if (bytes == 0) break;
        begin -= bytes;
    }
    while (begin < at && !begins_local(text, begin)) begin += plain_at(text, begin).bytes;
    if (begin == at) return std::nullopt;
    const std::size_t end = domain_end(text, at + at_bytes);
    if (end == 0) return std::nullopt;
    return Finding{begin, end, Kind::email};
}

std::optional<Finding> ipv4_at(std::string_view text, std::size_t at) {
    std::array<unsigned, 4> octets{};
    std::size_t end = at;
    for (std::size_t i = 0; i < 4; ++i) {
        if (i > 0 && (end >= text.size() || text[end++] != '.')) return std::nullopt;
        const std::size_t begin = end;
        while (end < text.size() && end - begin < 4 && text[end] >= '0' && text[end] <= '9')
            octets[i] = octets[i] * 10 + static_cast<unsigned>(text[end++] - '0');
        const std::size_t length = end - begin;
        if (length == 0 || length > 3 || octets[i] > 255 || (length > 1 && text[begin] == '0')) return std::nullopt;
    }
    const bool goes_on = end < text.size() && (is_alnum(text[end]) ||
                                               (text[end] == '.' && end + 1 < text.size() && is_alnum(text[end + 1])));
    if (goes_on || octets[0] == 0 || octets[0] == 127 || octets == std::array<unsigned, 4>{255, 255, 255, 255})
        return std::nullopt;
    const std::string_view before = text.substr(0, at);
    if (before.ends_with("ersion ") || before.ends_with("ersion: ") || before.ends_with("elease ")) return std::nullopt;
    return Finding{at, end, Kind::ip};
}

std::optional<Finding> hex_address_at(std::string_view text, std::size_t at) {
    constexpr std::size_t kMost = 45;
    std::size_t begin = at;
    while (begin > 0 && at - begin < 5 && is_hex(text[begin - 1])) --begin;
    if (begin > 0 && (is_alnum(text[begin - 1]) || text[begin - 1] == '_')) return std::nullopt;
    if (begin > 0 && text[begin - 1] == ':' && !is_behind_label(text, begin - 1)) return std::nullopt;
    if (at + 1 < text.size() && !is_hex(text[at + 1]) && text[at + 1] != ':') return std::nullopt;
    std::size_t end = at;
    std::size_t colons = 0;
    while (end < text.size() && end - begin < kMost && (is_hex(text[end]) || text[end] == ':' || text[end] == '.'))
        colons += text[end++] == ':' ? 1U : 0U;
    while (end > at && text[end - 1] == '.') --end;  // of a sentence
    if (end > at + 1 && text[end - 1] == ':' && text[end - 2] != ':') {
        --end;
        --colons;
    }
    const bool apart = end == text.size() || (!is_alnum(text[end]) && text[end] != '_');
    if (!apart || colons < 2) return std::nullopt;
    const std::string address(text.substr(begin, end - begin));
    if (address.size() == 17 && colons == 5 && address.find("::") == std::string::npos) {
        for (std::size_t i = 2; i < 17; i += 3) {
            if (address[i] != ':') return std::nullopt;
        }
        return Finding{begin, end, Kind::mac};
    }
    in6_addr parsed{};
    if (::inet_pton(AF_INET6, address.c_str(), &parsed) != 1 || IN6_IS_ADDR_LOOPBACK(&parsed) != 0 ||
        IN6_IS_ADDR_UNSPECIFIED(&parsed) != 0)
        return std::nullopt;
    // "dead::beef" may be a name in a program; an address has a digit, and three groups or a first one of four.
    const bool digit = std::ranges::any_of(address, [](char letter) { return letter >= '0' && letter <= '9'; });
    if (!digit || (colons < 3 && address.find(':') != 4)) return std::nullopt;
    return Finding{begin, end, Kind::ip};
}

std::optional<Finding> url_credentials_at(std::string_view text, std::size_t at) {
    constexpr std::size_t kMost = 256;
    const std::size_t begin = at + 3;
    if (text.substr(at, 3) != "://") return std::nullopt;
    bool colon = false;
    bool word = false;  // a mask has none
    for (std::size_t end = begin; end < text.size() && end - begin < kMost; ++end) {
        const char letter = text[end];
        if (letter == '@') return colon && word ? std::optional(Finding{begin, end, Kind::secret}) : std::nullopt;
        if (static_cast<unsigned char>(letter) <= ' ' ||
            std::string_view("/?#<>\"'").find(letter) != std::string_view::npos)
            return std::nullopt;
        word = word || is_alnum(letter);
        colon = colon || (letter == ':' && end + 1 < text.size() && text[end + 1] != '@');
    }
    return std::nullopt;
}

}  // namespace kiban::data
