// SPDX-License-Identifier: Apache-2.0
#include "data/privacy/secrets.h"

#include <algorithm>
#include <array>
#include <string>

#include "data/privacy/digits.h"

namespace kiban::data {
namespace {

struct Marked {
    std::string_view prefix;
    std::size_t trigger;  // the byte of the prefix at which it is looked for
    std::size_t least;    // characters behind the prefix
    std::size_t most;
    std::string_view also;  // characters of it that are no letters or digits
};

constexpr std::array<Marked, 26> kMarked = {{
    {"AKIA", 0, 16, 16, ""},      {"ASIA", 0, 16, 16, ""},       {"AIza", 0, 35, 35, "_-"},
    {"ghp_", 3, 36, 255, ""},     {"gho_", 3, 36, 255, ""},      {"ghu_", 3, 36, 255, ""},
    {"ghs_", 3, 36, 255, ""},     {"ghr_", 3, 36, 255, ""},      {"github_pat_", 6, 40, 255, "_"},
    {"glpat-", 5, 20, 64, "_-"},  {"xoxb-", 4, 20, 255, "-"},    {"xoxp-", 4, 20, 255, "-"},
    {"xoxa-", 4, 20, 255, "-"},   {"xoxr-", 4, 20, 255, "-"},    {"xoxs-", 4, 20, 255, "-"},
    {"sk_live_", 2, 16, 255, ""}, {"rk_live_", 2, 16, 255, ""},  {"pk_live_", 2, 16, 255, ""},
    {"sk_test_", 2, 16, 255, ""}, {"sk-ant-", 2, 32, 255, "_-"}, {"sk-proj-", 2, 32, 255, "_-"},
    {"sk-", 2, 32, 255, ""},      {"npm_", 3, 36, 36, ""},       {"hf_", 2, 30, 64, ""},
    {"dop_v1_", 3, 64, 64, ""},   {"pypi-", 4, 50, 255, "_-"},
}};

// Of a trigger, the letters beside it in the marks: before it, or behind it where it is the first. Most dashes and
// underscores have others.
using Letters = std::array<bool, 256>;
struct Neighbours {
    Letters before{};
    Letters after{};
};

constexpr Neighbours neighbours_of(char trigger) {
    Neighbours neighbours;
    for (const Marked& marked : kMarked) {
        if (marked.prefix[marked.trigger] != trigger) continue;
        Letters& letters = marked.trigger > 0 ? neighbours.before : neighbours.after;
        const char letter = marked.prefix[marked.trigger > 0 ? marked.trigger - 1 : 1];
        letters[static_cast<unsigned char>(letter)] = true;
    }
    return neighbours;
}
constexpr Neighbours kOfUnderscore = neighbours_of('_');
constexpr Neighbours kOfDash = neighbours_of('-');
constexpr Neighbours kOfA = neighbours_of('A');

bool may_be_marked(std::string_view text, std::size_t at) {
    const Neighbours& neighbours = text[at] == '_' ? kOfUnderscore : text[at] == '-' ? kOfDash : kOfA;
    const char before = at > 0 ? text[at - 1] : '\0';
    const char after = at + 1 < text.size() ? text[at + 1] : '\0';
    return neighbours.before[static_cast<unsigned char>(before)] || neighbours.after[static_cast<unsigned char>(after)];
}

constexpr std::string_view kBegin = "-----BEGIN ";
constexpr std::string_view kPrivate = "PRIVATE KEY";
constexpr std::string_view kEnd = "-----END ";
constexpr std::size_t kMostLine = 80;
constexpr std::size_t kMostWebToken = 8192;  // as much as servers take of a header; a longer one is no token

bool is_of(char letter, std::string_view also) {
    return is_alnum(letter) || also.find(letter) != std::string_view::npos;
}

std::optional<Finding> marked_at(std::string_view text, std::size_t at, const Marked& marked) {
    if (at < marked.trigger) return std::nullopt;
    const std::size_t begin = at - marked.trigger;
    if (!text.substr(begin).starts_with(marked.prefix)) return std::nullopt;
    if (begin > 0 && (is_alnum(text[begin - 1]) || text[begin - 1] == '_')) return std::nullopt;
    std::size_t end = begin + marked.prefix.size();
    const std::size_t start = end;
    while (end < text.size() && end - start <= marked.most && is_of(text[end], marked.also)) ++end;
    const std::size_t length = end - start;
    if (length < marked.least || length > marked.most) return std::nullopt;
    const std::string_view body = text.substr(start, length);
    const bool digit = std::ranges::any_of(body, [](char letter) { return letter >= '0' && letter <= '9'; });
    return digit ? std::optional(Finding{begin, end, Kind::secret}) : std::nullopt;
}

// A JSON Web Token: three parts of base64url, of which the first two are objects ("eyJ" begins one).
std::optional<Finding> web_token_at(std::string_view text, std::size_t at) {
    if (at < 2 || text.substr(at - 2, 3) != "eyJ" || (at > 2 && is_alnum(text[at - 3]))) return std::nullopt;
    std::size_t end = at;
    std::array<std::size_t, 2> dots{};
    std::size_t parts = 0;
    while (end < text.size() && end - at <= kMostWebToken &&
           (is_of(text[end], "_-") || (text[end] == '.' && parts < 2))) {
        if (text[end] == '.') dots[parts++] = end;
        ++end;
    }
    const bool formed =
        end - at <= kMostWebToken && parts == 2 && text.substr(dots[0] + 1, 3) == "eyJ" && end - dots[1] > 10;
    return formed ? std::optional(Finding{at - 2, end, Kind::secret}) : std::nullopt;
}

// With its lines, or to the end of the text when it has none.
std::optional<Finding> private_key_at(std::string_view text, std::size_t at) {
    if (!text.substr(at).starts_with(kBegin)) return std::nullopt;
    const std::string_view line = text.substr(at, kMostLine);
    const std::size_t named = line.find(kPrivate);
    if (named == std::string_view::npos || named > line.find('\n')) return std::nullopt;
    const std::size_t footer = text.find(kEnd, at);
    if (footer == std::string_view::npos) return Finding{at, text.size(), Kind::secret};
    std::size_t end = text.find("-----", footer + kEnd.size());
    end = end == std::string_view::npos ? text.size() : end + 5;
    return Finding{at, end, Kind::secret};
}

}  // namespace

std::optional<Finding> secret_at(std::string_view text, std::size_t at) {
    if (text[at] == 'J') return web_token_at(text, at);
    if (text[at] == '-' && at + 5 < text.size() && text[at + 5] == 'B') {
        if (const auto key = private_key_at(text, at)) return key;
    }
    if (!may_be_marked(text, at)) return std::nullopt;
    for (const Marked& marked : kMarked) {
        if (marked.prefix[marked.trigger] != text[at]) continue;
        if (const auto found = marked_at(text, at, marked)) return found;
    }
    return std::nullopt;
}

}  // namespace kiban::data
