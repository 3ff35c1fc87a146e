// SPDX-License-Identifier: Apache-2.0
#include "data/privacy/names.h"

#include <algorithm>

#include "data/bpe/unicode.h"
#include "data/clean/word_hashes.h"
#include "data/digest.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

constexpr std::string_view kWhite = " \t\r\n";

bool is_white(char letter) { return kWhite.find(letter) != std::string_view::npos; }

// White space as one space, none around.
std::string with_single_spaces(std::string_view line) {
    std::string name;
    for (const char letter : line) {
        if (!is_white(letter)) {
            name.push_back(letter);
        } else if (!name.empty() && name.back() != ' ') {
            name.push_back(' ');
        }
    }
    if (name.ends_with(' ')) name.pop_back();
    return name;
}

std::string in_capitals(std::string name) {
    for (char& letter : name) {
        if (letter >= 'a' && letter <= 'z') letter = static_cast<char>(letter - 32);
    }
    return name;
}

unsigned byte_of(std::string_view text, std::size_t at) {
    return is_white(text[at]) ? ' ' : static_cast<unsigned char>(text[at]);
}

// Whether a word goes on from the character before `at` to the one at it.
bool is_inside_word(std::string_view text, std::size_t at) {
    if (at == 0 || at == text.size()) return false;
    std::size_t before = at - 1;
    while (before > 0 && at - before < 4 && (static_cast<unsigned char>(text[before]) & 0xC0) == 0x80) --before;
    return joins_words(text, at) && joins_words(text, before);
}

}  // namespace

NameList::NameList(std::string_view lines, const std::string& where)
    : id_(sha256(fmt::format("kiban names 1\n{}", lines)).substr(0, 16)) {
    if (!is_utf8(lines)) throw ConfigError("the list of names '{}' is not UTF-8", where);
    if (lines.starts_with("\xEF\xBB\xBF")) lines.remove_prefix(3);  // a mark of the encoding, no part of a name
    std::size_t number = 0;
    for (std::size_t begin = 0; begin < lines.size();) {
        const std::size_t end = std::min(lines.find('\n', begin), lines.size());
        std::string name = with_single_spaces(lines.substr(begin, end - begin));
        begin = end + 1;
        ++number;
        if (name.empty()) continue;
        if (name.size() < 2 || name.size() > kMostNameBytes) {
            throw ConfigError("the list of names '{}' has a name of {} bytes in line {}, expected 2 to {}", where,
                              name.size(), number, kMostNameBytes);
        }
        if (in_capitals(name) == kKindTags[static_cast<std::size_t>(Kind::name)]) {
            throw ConfigError(
                "the list of names '{}' has '{}' in line {}: expected no name that reads as the mark <{}>, which "
                "stands "
                "where a name was; it would be found again and again",
                where, name, number, kKindTags[static_cast<std::size_t>(Kind::name)]);
        }
        names_.push_back(std::move(name));
    }
    if (names_.empty()) throw ConfigError("the list of names '{}' has none, expected one a line", where);
    std::ranges::sort(names_);
    listed_ = names_.size() - std::ranges::unique(names_).size();
    names_.resize(listed_);
    for (std::size_t i = 0; i < listed_; ++i) names_.push_back(in_capitals(names_[i]));
    std::ranges::sort(names_);
    const auto twice = std::ranges::unique(names_);
    names_.erase(twice.begin(), twice.end());
    first_.resize(65537);
    for (const std::string& name : names_) ++first_[(byte_of(name, 0) << 8 | byte_of(name, 1)) + 1];
    for (std::size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
}

void NameList::find(std::string_view text, std::vector<Finding>& findings) const {
    for (std::size_t at = 0; at + 1 < text.size();) {
        const unsigned begins = byte_of(text, at) << 8 | byte_of(text, at + 1);
        const bool none = first_[begins] == first_[begins + 1] || is_inside_word(text, at);
        const std::size_t end = none ? at : end_at(text, at);
        if (end > at) findings.push_back({at, end, Kind::name});
        at = std::max(end, at + 1);
    }
}

std::size_t NameList::end_at(std::string_view text, std::size_t at) const {
    const unsigned begins = byte_of(text, at) << 8 | byte_of(text, at + 1);
    auto from = names_.begin() + first_[begins];  // the names that begin as the text does
    auto to = names_.begin() + first_[begins + 1];
    std::size_t end = at;
    std::size_t place = at;
    for (std::size_t depth = 0;; ++depth) {
        if (from->size() == depth) {
            if (!is_inside_word(text, place)) end = place;
            ++from;
        }
        if (from == to || place == text.size()) return end;
        const unsigned byte = byte_of(text, place);
        const auto byte_there = [depth](const std::string& name) { return static_cast<unsigned char>(name[depth]); };
        const auto same = std::ranges::equal_range(from, to, byte, {}, byte_there);
        if (same.empty()) return end;
        from = same.begin();
        to = same.end();
        ++place;
        while (byte == ' ' && place < text.size() && is_white(text[place])) ++place;
    }
}

std::shared_ptr<const NameList> read_names(const std::string& file) {
    if (file.empty()) return nullptr;
    return std::make_shared<const NameList>(monitoring::read_text(file), file);
}

}  // namespace kiban::data
