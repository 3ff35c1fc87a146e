// SPDX-License-Identifier: Apache-2.0
#include "data/clean/filter.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace kiban::data {
namespace {

using Views = std::vector<std::string_view>;

constexpr std::array<std::string_view, 8> kStopWords = {"the", "be", "to", "of", "and", "that", "have", "with"};
constexpr std::array<std::string_view, 6> kBullets = {"•", "‣", "▪", "●", "-", "*"};
constexpr std::array<std::string_view, 11> kEnds = {".", "!", "?", "\"", "'", "…", "。", "！", "？", "」", "』"};
constexpr std::array<std::string_view, 2> kEllipses = {"...", "…"};
constexpr std::size_t kShortLine = 30;

struct NgramLimit {
    std::size_t words;
    double most;
    bool top;  // the most frequent run; otherwise all that stood before
};
constexpr std::array<NgramLimit, 9> kNgramLimits = {{{2, 0.20, true},
                                                     {3, 0.18, true},
                                                     {4, 0.16, true},
                                                     {5, 0.15, false},
                                                     {6, 0.14, false},
                                                     {7, 0.13, false},
                                                     {8, 0.12, false},
                                                     {9, 0.11, false},
                                                     {10, 0.10, false}}};

bool is_space(char letter) { return static_cast<unsigned char>(letter) <= ' '; }

std::size_t characters(std::string_view text) {
    return static_cast<std::size_t>(
        std::ranges::count_if(text, [](char letter) { return (static_cast<unsigned char>(letter) & 0xC0) != 0x80; }));
}

Views words_of(std::string_view text) {
    Views words;
    for (std::size_t at = 0; at < text.size();) {
        while (at < text.size() && is_space(text[at])) ++at;
        const std::size_t begin = at;
        while (at < text.size() && !is_space(text[at])) ++at;
        if (at > begin) words.push_back(text.substr(begin, at - begin));
    }
    return words;
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    return text;
}

// What is between separators, without what is blank.
Views parts_of(std::string_view text, std::string_view separator) {
    Views parts;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find(separator, begin), text.size());
        const std::string_view part = trimmed(text.substr(begin, end - begin));
        if (!part.empty()) parts.push_back(part);
        begin = end + separator.size();
    }
    return parts;
}

template <typename Test>
double share(const Views& parts, const Test& test) {
    if (parts.empty()) return 0;
    return static_cast<double>(std::ranges::count_if(parts, test)) / static_cast<double>(parts.size());
}

template <typename Words>
bool ends_with_any(std::string_view text, const Words& ends) {
    return std::ranges::any_of(ends, [&](std::string_view end) { return text.ends_with(end); });
}

bool starts_with_bullet(std::string_view line) {
    return std::ranges::any_of(kBullets, [&](std::string_view bullet) { return line.starts_with(bullet); });
}

bool has_letter(std::string_view word) {
    return std::ranges::any_of(word, [](char letter) {
        return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
               static_cast<unsigned char>(letter) >= 0x80;
    });
}

double symbols(std::string_view text, std::size_t words) {
    auto count = static_cast<std::size_t>(std::ranges::count(text, '#'));
    for (const std::string_view ellipsis : kEllipses) {
        for (std::size_t at = text.find(ellipsis); at != std::string_view::npos;
             at = text.find(ellipsis, at + ellipsis.size()))
            ++count;
    }
    return static_cast<double>(count) / static_cast<double>(std::max<std::size_t>(words, 1));
}

std::uint64_t stop_words(const Views& words) {
    std::uint64_t found = 0;
    for (const std::string_view stop : kStopWords) found += std::ranges::find(words, stop) != words.end() ? 1U : 0U;
    return found;
}

struct Repeats {
    double parts = 0;  // that stood before, of all
    double bytes = 0;
};

Repeats repeats_of(const Views& parts) {
    std::unordered_set<std::string_view> seen;
    std::size_t repeated = 0;
    std::size_t repeated_bytes = 0;
    std::size_t bytes = 0;
    for (const std::string_view part : parts) {
        bytes += part.size();
        if (seen.insert(part).second) continue;
        ++repeated;
        repeated_bytes += part.size();
    }
    if (parts.empty()) return {};
    return {static_cast<double>(repeated) / static_cast<double>(parts.size()),
            static_cast<double>(repeated_bytes) / static_cast<double>(bytes)};
}

// Runs of words by the hash of their words' hashes.
class Ngrams {
  public:
    explicit Ngrams(const Views& words) : words_(words) {
        for (const std::string_view word : words) {
            hashes_.push_back(XXH3_64bits(word.data(), word.size()));
            bytes_ += word.size();
        }
    }

    /// Bytes in the run of `length` words that is most frequent (the longest of equals), of all bytes of words.
    double top_share(std::size_t length) const {
        struct Seen {
            std::size_t count = 0;
            std::size_t bytes = 0;
        };
        std::unordered_map<std::uint64_t, Seen> runs;
        Seen top;
        for (std::size_t at = 0; at + length <= words_.size(); ++at) {
            Seen& run = runs[hash_of(at, length)];
            run.bytes = bytes_of(at, length);
            ++run.count;
            if (run.count > top.count || (run.count == top.count && run.bytes > top.bytes)) top = run;
        }
        return top.count < 2 ? 0 : of_all(top.count * top.bytes);
    }

    /// Bytes in runs of `length` words that stood before, each byte counted once.
    double repeated_share(std::size_t length) const {
        std::unordered_set<std::uint64_t> seen;
        std::size_t repeated = 0;
        for (std::size_t at = 0; at + length <= words_.size();) {
            if (seen.insert(hash_of(at, length)).second) {
                ++at;
            } else {
                repeated += bytes_of(at, length);
                at += length;
            }
        }
        return of_all(repeated);
    }

  private:
    std::uint64_t hash_of(std::size_t at, std::size_t length) const {
        return XXH3_64bits(hashes_.data() + at, length * sizeof(hashes_[0]));
    }
    std::size_t bytes_of(std::size_t at, std::size_t length) const {
        std::size_t bytes = 0;
        for (std::size_t i = at; i < at + length; ++i) bytes += words_[i].size();
        return bytes;
    }
    double of_all(std::size_t bytes) const {
        return bytes_ == 0 ? 0 : static_cast<double>(bytes) / static_cast<double>(bytes_);
    }

    const Views& words_;
    std::vector<std::uint64_t> hashes_;
    std::size_t bytes_ = 0;
};

bool repeats_ngrams(const Views& words, double scale) {
    const Ngrams ngrams(words);
    return std::ranges::any_of(kNgramLimits, [&](const NgramLimit& limit) {
        return (limit.top ? ngrams.top_share(limit.words) : ngrams.repeated_share(limit.words)) > limit.most * scale;
    });
}

// A limit of 0 is not asked.
template <typename Limit, typename Value>
bool above(Limit most, const Value& value) {
    return most != 0 && value() > most;
}
template <typename Limit, typename Value>
bool below(Limit least, const Value& value) {
    return least != 0 && value() < least;
}

std::string_view broken_word_rule(const FilterConfig& rules, std::string_view text, const Views& words) {
    const auto count = [&] { return std::uint64_t{words.size()}; };
    const auto mean = [&] {
        std::size_t letters = 0;
        for (const std::string_view word : words) letters += characters(word);
        return static_cast<double>(letters) / static_cast<double>(std::max<std::size_t>(words.size(), 1));
    };
    if (below(rules.min_words, count)) return "min_words";
    if (above(rules.max_words, count)) return "max_words";
    if (below(rules.min_word_length, mean)) return "min_word_length";
    if (above(rules.max_word_length, mean)) return "max_word_length";
    if (above(rules.max_symbols, [&] { return symbols(text, words.size()); })) return "max_symbols";
    if (below(rules.min_letter_words, [&] { return share(words, has_letter); })) return "min_letter_words";
    if (below(rules.min_stop_words, [&] { return stop_words(words); })) return "min_stop_words";
    return {};
}

std::string_view broken_line_rule(const FilterConfig& rules, const Views& lines, std::size_t words) {
    const auto is_short = [](std::string_view line) { return characters(line) <= kShortLine; };
    const auto per_word = [&] {
        return static_cast<double>(lines.size()) / static_cast<double>(std::max<std::size_t>(words, 1));
    };
    if (above(rules.max_bullet_lines, [&] { return share(lines, starts_with_bullet); })) return "max_bullet_lines";
    if (above(rules.max_ellipsis_lines,
              [&] { return share(lines, [](auto line) { return ends_with_any(line, kEllipses); }); }))
        return "max_ellipsis_lines";
    if (below(rules.min_ended_lines,
              [&] { return share(lines, [](auto line) { return ends_with_any(line, kEnds); }); }))
        return "min_ended_lines";
    if (above(rules.max_short_lines, [&] { return share(lines, is_short); })) return "max_short_lines";
    if (above(rules.max_lines_per_word, per_word)) return "max_lines_per_word";
    return {};
}

std::string_view broken_repetition_rule(const FilterConfig& rules, std::string_view text, const Views& lines,
                                        const Views& words) {
    if (rules.max_repeated_lines != 0 || rules.max_repeated_line_bytes != 0) {
        const Repeats repeats = repeats_of(lines);
        if (above(rules.max_repeated_lines, [&] { return repeats.parts; })) return "max_repeated_lines";
        if (above(rules.max_repeated_line_bytes, [&] { return repeats.bytes; })) return "max_repeated_line_bytes";
    }
    if (rules.max_repeated_paragraphs != 0 || rules.max_repeated_paragraph_bytes != 0) {
        const Repeats repeats = repeats_of(parts_of(text, "\n\n"));
        if (above(rules.max_repeated_paragraphs, [&] { return repeats.parts; })) return "max_repeated_paragraphs";
        if (above(rules.max_repeated_paragraph_bytes, [&] { return repeats.bytes; }))
            return "max_repeated_paragraph_bytes";
    }
    if (rules.max_repeated_ngrams != 0 && repeats_ngrams(words, rules.max_repeated_ngrams))
        return "max_repeated_ngrams";
    return {};
}

}  // namespace

std::string_view broken_rule(const FilterConfig& rules, std::string_view text) {
    if (rules == FilterConfig{}) return {};
    const Views words = words_of(text);
    if (const auto broken = broken_word_rule(rules, text, words); !broken.empty()) return broken;
    const Views lines = parts_of(text, "\n");
    if (const auto broken = broken_line_rule(rules, lines, words.size()); !broken.empty()) return broken;
    return broken_repetition_rule(rules, text, lines, words);
}

}  // namespace kiban::data
