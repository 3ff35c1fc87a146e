// SPDX-License-Identifier: Apache-2.0
#include "tests/data/bpe_reference.h"

#include <algorithm>
#include <map>
#include <set>

#include "data/bpe/unicode.h"

namespace kiban::data {

std::vector<std::uint32_t> reference_merge(const BpeDefinition& definition, const std::string& piece) {
    const auto id_of = [&](const std::string& bytes) {
        return static_cast<std::uint32_t>(std::ranges::find(definition.tokens, bytes) - definition.tokens.begin());
    };
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::size_t> ranks;
    for (std::size_t rank = 0; rank < definition.merges.size(); ++rank) ranks[definition.merges[rank]] = rank;
    if (definition.ignore_merges && id_of(piece) < definition.tokens.size()) return {id_of(piece)};
    std::vector<std::uint32_t> ids;
    for (const char byte : piece) ids.push_back(id_of(std::string(1, byte)));
    for (;;) {
        std::size_t best = ids.size();
        std::size_t best_rank = definition.merges.size();
        for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
            const auto found = ranks.find({ids[i], ids[i + 1]});
            if (found == ranks.end() || found->second >= best_rank) continue;
            best = i;
            best_rank = found->second;
        }
        if (best == ids.size()) return ids;
        ids[best] = id_of(definition.tokens[ids[best]] + definition.tokens[ids[best + 1]]);
        ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
}

std::vector<std::pair<std::string, std::string>> reference_training(const WordList& words, std::size_t merges) {
    std::map<std::string, std::size_t> ids;  // in the order in which tokens were made
    for (std::size_t byte = 0; byte < 256; ++byte) ids[std::string(1, static_cast<char>(byte))] = byte;
    std::vector<std::vector<std::string>> split(words.size());
    std::size_t at = 0;
    for (std::size_t i = 0; i < words.size(); ++i) {
        for (std::uint32_t j = 0; j < words.bytes[i]; ++j) split[i].emplace_back(1, words.text[at++]);
    }
    std::vector<std::pair<std::string, std::string>> result;
    while (result.size() < merges) {
        std::map<std::pair<std::size_t, std::size_t>, std::uint64_t> counts;
        std::map<std::size_t, std::string> text;
        for (const auto& [token, id] : ids) text[id] = token;
        for (std::size_t i = 0; i < split.size(); ++i) {
            for (std::size_t j = 0; j + 1 < split[i].size(); ++j) {
                counts[{ids[split[i][j]], ids[split[i][j + 1]]}] += words.counts[i];
            }
        }
        const auto best = std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; });
        if (best == counts.end() || best->second < 2) return result;  // max_element gives the first: the smallest pair
        const std::pair pair(text[best->first.first], text[best->first.second]);
        result.push_back(pair);
        ids.emplace(pair.first + pair.second, ids.size());
        for (auto& word : split) {
            for (std::size_t j = 0; j + 1 < word.size(); ++j) {
                if (word[j] != pair.first || word[j + 1] != pair.second) continue;
                word[j] += word[j + 1];
                word.erase(word.begin() + static_cast<std::ptrdiff_t>(j) + 1);
            }
        }
    }
    return result;
}

std::string random_text(std::mt19937_64& random, std::size_t characters, unsigned bad_one_in) {
    static const std::vector<std::u32string> kinds = {U"abcdeLlMmRrSsTtVv",
                                                      U"éüßœſKÅ",
                                                      U"дѐאשعहกあカ漢字한",
                                                      U"𝒜𐐷𠀀",
                                                      U"0123456789",
                                                      U"٣४Ⅳ²½㊿𝟘",
                                                      U" ",
                                                      U" ",
                                                      U"\t\r\n\v\f",
                                                      U"\u0085\u00A0\u1680\u2003\u2028\u2029\u202F\u205F\u3000",
                                                      U"\u180E\u200B\u200D\uFEFF",
                                                      U"'",
                                                      U"'’`\"",
                                                      U".,;:!?-_/\\()[]{}<>|@#$%^&*+=~",
                                                      U"\u0301\u0308\u0E34\u094D\u20DD",
                                                      U"€™→∑☃😀👍🏽",
                                                      std::u32string(U"\u0000\u0007\u001B\u007F", 4),
                                                      U"\u0378\uE000\U000F0000\U0010FFFF\uFFFD\uFFFF"};
    std::string text;
    for (std::size_t i = 0; i < characters; ++i) {
        if (bad_one_in > 0 && random() % bad_one_in == 0) {
            text.push_back(static_cast<char>(0x80 | random() % 0x80));
        } else if (random() % 16 == 0) {
            char32_t code = static_cast<char32_t>(random() % 0x110000);
            if (code >= 0xD800 && code < 0xE000) code -= 0x800;
            append_utf8(text, code);
        } else {
            const std::u32string& kind = kinds[random() % kinds.size()];
            for (std::size_t run = 1 + random() % 3; run > 0; --run) append_utf8(text, kind[random() % kind.size()]);
        }
    }
    return text;
}

std::string random_ascii(std::mt19937_64& random, std::size_t bytes, unsigned wide_one_in) {
    static const std::vector<std::string> kinds = {"sStTmMdDrReEvVlLab",
                                                   "etaoinshrdlu",
                                                   "0123456789",
                                                   " ",
                                                   " ",
                                                   "\t\r\n\v\f ",
                                                   "\n",
                                                   "'",
                                                   "'(",
                                                   ".,;:!?-_()[]{}`\"",
                                                   std::string("\0\x1F\x7F", 3)};
    std::string text;
    while (text.size() < bytes) {
        if (random() % wide_one_in == 0) {
            text += random_text(random, 1, 8);
            continue;
        }
        const std::string& kind = kinds[random() % kinds.size()];
        const std::size_t longest = random() % 16 == 0 ? 80 : random() % 3 == 0 ? 7 : 2;
        for (std::size_t run = 1 + random() % longest; run > 0; --run) text.push_back(kind[random() % kind.size()]);
    }
    return text;
}

BpeDefinition random_definition(std::mt19937_64& random, std::size_t merges, const std::string& pattern) {
    BpeDefinition definition;
    for (std::size_t byte = 0; byte < 256; ++byte) definition.tokens.emplace_back(1, static_cast<char>(byte));
    std::set<std::string> known(definition.tokens.begin(), definition.tokens.end());
    const std::string letters = "abcdefgh";
    while (definition.merges.size() < merges) {
        const auto pick = [&] {
            const bool byte = random() % 2 == 0 || definition.tokens.size() == 256;
            return static_cast<std::uint32_t>(byte ? static_cast<unsigned char>(letters[random() % letters.size()])
                                                   : 256 + random() % (definition.tokens.size() - 256));
        };
        const std::uint32_t left = pick();
        const std::uint32_t right = pick();
        const std::string both = definition.tokens[left] + definition.tokens[right];
        if (both.size() > 24 || !known.insert(both).second) continue;
        definition.tokens.push_back(both);
        definition.merges.emplace_back(left, right);
    }
    definition.tokens.emplace_back();
    definition.added.push_back({static_cast<std::uint32_t>(definition.tokens.size() - 1), "<|endoftext|>", true});
    definition.patterns.push_back(pattern);
    return definition;
}

}  // namespace kiban::data
