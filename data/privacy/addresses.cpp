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

// The end of a domain of at least two labels, of which the last is no number; 0 for none.
std::size_t domain_end(std::string_view text, std::size_t begin) {
    std::size_t end = 0;
    std::size_t label = begin;
    for (std::size_t at = begin; at <= text.size() && at - begin <= kMostDomain; ++at) {
        const char letter = at < text.size() ? text[at] : ' ';
        if (is_alnum(letter) || (letter == '-' && at > label)) continue;
        std::size_t label_end = at;
        while (label_end > label && text[label_end - 1] == '-') --label_end;
        if (label_end == label) break;
        const std::string_view name = text.substr(label, label_end - label);
        // Behind a hyphen the text goes on: "bob@example.org-based".
        const std::string_view word = name.starts_with("xn--") ? name : name.substr(0, name.find('-'));
        const bool top = word.size() >= 2 && is_letter(word[0]) &&
                         (std::ranges::all_of(word, is_letter) || name.starts_with("xn--"));
        if (label > begin && top) end = label + word.size();
        if (letter != '.' || label_end != at) break;
        label = at + 1;
    }
    return end;
}

}  // namespace

std::optional<Finding> email_at(std::string_view text, std::size_t at, std::size_t at_bytes) {
    std::size_t begin = at;
    while (begin > 0 && at - begin < kMostLocal && is_local(text[begin - 1])) --begin;
    while (begin < at && !begins_local(text[begin])) ++begin;
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
    if (begin > 0 && (is_alnum(text[begin - 1]) || text[begin - 1] == ':' || text[begin - 1] == '_'))
        return std::nullopt;
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
