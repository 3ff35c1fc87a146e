// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <ctime>

#include "bpe_checks.h"
#include "bpe_reference.h"
#include "data/bpe/encoder.h"
#include "data/bpe/merger.h"
#include "data/token_ids.h"
#include "data/tokenizer.h"
#include "files.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

using Ids = std::vector<std::uint32_t>;

std::shared_ptr<const BpeModel> model_of(BpeDefinition definition) {
    return std::make_shared<const BpeModel>(std::move(definition));
}

Ids encode(const std::shared_ptr<const BpeModel>& model, const std::string& text, SplitPath path = SplitPath::fastest) {
    Ids ids(text.size() + BpeEncoder::kSlack);
    ids.resize(BpeEncoder(model, path).encode(text, text.size(), ids.data()));
    return ids;
}

Ids merge(const BpeModel& model, const std::string& piece) {
    Ids ids(piece.size());
    ids.resize(Merger(model).merge(piece, ids.data()));
    return ids;
}

std::string decode(const BpeModel& model, const Ids& ids) {
    std::string text;
    for (const std::uint32_t id : ids) text += *model.bytes_of(id);
    return text;
}

std::string random_letters(std::mt19937_64& random, std::size_t bytes) {
    std::string text;
    while (text.size() < bytes) text.push_back(static_cast<char>('a' + random() % 8));
    return text;
}

double thread_nanoseconds() {  // of processor time: the machine may be busy with others
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return 1e9 * static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec);
}

BpeDefinition with_tokens(const std::vector<std::pair<std::string, std::string>>& merges) {
    std::mt19937_64 random(0);
    BpeDefinition definition = random_definition(random, 0, kGpt2Pattern);
    const auto id_of = [&](const std::string& bytes) {
        return static_cast<std::uint32_t>(std::ranges::find(definition.tokens, bytes) - definition.tokens.begin());
    };
    for (const auto& [left, right] : merges) {
        definition.merges.emplace_back(id_of(left), id_of(right));
        if (id_of(left + right) == definition.tokens.size()) definition.tokens.push_back(left + right);
    }
    return definition;
}

TEST(Merge, TakesTheStrongestPairAndOfEqualsTheLeftmost) {
    const BpeModel model(with_tokens({{"b", "c"}, {"a", "b"}, {"a", "a"}, {"aa", "aa"}}));
    const auto shown = [&](const std::string& piece) {
        std::vector<std::string> tokens;
        for (const std::uint32_t id : merge(model, piece)) tokens.push_back(*model.bytes_of(id));
        return tokens;
    };
    EXPECT_EQ(shown("abc"), (std::vector<std::string>{"a", "bc"}));
    EXPECT_EQ(shown("aaa"), (std::vector<std::string>{"aa", "a"}));
    EXPECT_EQ(shown("aaaaaa"), (std::vector<std::string>{"aaaa", "aa"}));
    EXPECT_EQ(shown(std::string(100, 'a')), std::vector<std::string>(25, "aaaa"));
}

TEST(Merge, IsTheTextbooksForPiecesOfAnyLength) {
    std::mt19937_64 random(7);
    for (int round = 0; round < 8; ++round) {
        const BpeDefinition definition = random_definition(random, 300, kGpt2Pattern);
        const BpeModel model(definition);
        for (int i = 0; i < 500; ++i) {
            const std::string piece = random_letters(random, 1 + random() % (i % 10 == 0 ? 400 : 60));
            ASSERT_EQ(merge(model, piece), reference_merge(definition, piece)) << piece;
        }
    }
}

// Files that were converted from other formats list merges whose parts are made by later ones.
TEST(Merge, IsTheTextbooksForMergesInAnyOrder) {
    std::mt19937_64 random(8);
    for (int round = 0; round < 20; ++round) {
        BpeDefinition definition = random_definition(random, 200, kGpt2Pattern);
        std::ranges::shuffle(definition.merges, random);
        const BpeModel model(definition);
        for (int i = 0; i < 200; ++i) {
            const std::string piece = random_letters(random, 1 + random() % (i % 4 == 0 ? 300 : 48));
            ASSERT_EQ(merge(model, piece), reference_merge(definition, piece)) << piece;
        }
    }
}

// What makes one letter repeated quick asks for merges in the order of training: both kinds give the textbook's ids.
TEST(Merge, P24_OfRepeatsIsTheTextbooksWhetherOrNotMergesComeInOrder) {
    const BpeDefinition in_order =
        with_tokens({{"a", "a"}, {"a", "b"}, {"aa", "aa"}, {"aa", "ab"}, {"b", "aa"}, {"aaaa", "aaaa"}, {"aa", "a"}});
    // "aab" is made by two merges, and what it makes stands between them.
    const BpeDefinition between =
        with_tokens({{"a", "a"}, {"aa", "b"}, {"aab", "c"}, {"a", "b"}, {"a", "ab"}, {"b", "c"}});
    BpeDefinition reversed = in_order;
    std::ranges::reverse(reversed.merges);
    EXPECT_TRUE(BpeModel(in_order).in_order());
    EXPECT_FALSE(BpeModel(between).in_order());
    EXPECT_FALSE(BpeModel(reversed).in_order());
    std::mt19937_64 random(12);
    for (const BpeDefinition& definition : {in_order, between, reversed}) {
        const BpeModel model(definition);
        for (int i = 0; i < 60; ++i) {
            std::string unit;
            for (std::size_t letters = 1 + random() % 7; letters > 0; --letters) unit.push_back("aaabbc"[random() % 6]);
            std::string piece;
            for (const std::size_t bytes = 49 + random() % 700; piece.size() < bytes;) piece += unit;
            ASSERT_EQ(merge(model, piece), reference_merge(definition, piece)) << piece;
        }
    }
}

// A byte that is repeated goes a way of its own: with random merges of its powers, also with those of unequal parts.
TEST(Merge, P24_OfOneByteRepeatedIsTheTextbooks) {
    std::mt19937_64 random(13);
    for (int round = 0; round < 60; ++round) {
        std::vector<std::size_t> lengths = {1};  // of the tokens, in the order of training
        std::vector<std::pair<std::string, std::string>> merges;
        for (int i = 0; i < 6; ++i) {
            const std::size_t left = lengths[random() % lengths.size()];
            const std::size_t right = lengths[random() % lengths.size()];
            if (std::ranges::find(lengths, left + right) != lengths.end()) continue;
            lengths.push_back(left + right);
            merges.emplace_back(std::string(left, 'a'), std::string(right, 'a'));
        }
        const BpeDefinition definition = with_tokens(merges);
        const BpeModel model(definition);
        ASSERT_TRUE(model.in_order());
        for (std::size_t bytes = 49; bytes < 300; bytes += 1 + random() % 7) {
            const std::string piece(bytes, 'a');
            ASSERT_EQ(merge(model, piece), reference_merge(definition, piece)) << bytes;
        }
    }
}

TEST(Merge, P24_TakesTheSameTimePerByteHoweverLongAPieceIs) {
    const BpeModel model(with_tokens({{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}}));
    const auto nanoseconds_per_byte = [&](std::size_t bytes) {
        const std::string piece = std::string(bytes - 1, 'a') + "b";  // no repeat to its end
        Merger merger(model);
        Ids ids(bytes);
        double best = 1e9;
        for (int i = 0; i < 5; ++i) {
            const double begin = thread_nanoseconds();
            EXPECT_EQ(merger.merge(piece, ids.data()), bytes / 8 - 1 + 3 + 1) << "7 letters are three tokens";
            best = std::min(best, (thread_nanoseconds() - begin) / static_cast<double>(bytes));
        }
        return best;
    };
    // A quadratic merge would take 256 times as long per byte; caches on a busy machine explain several times.
    EXPECT_LT(nanoseconds_per_byte(1u << 20), 32 * nanoseconds_per_byte(1u << 12));
}

TEST(Encode, IsTheTextbooksOverThePiecesOfTheGenericPath) {
    std::mt19937_64 random(9);
    for (const char* pattern : all_patterns()) {
        const BpeDefinition definition = random_definition(random, 400, pattern);
        const auto model = model_of(definition);
        const auto generic = model->splitters().make_generic();
        BpeEncoder encoder(model);
        for (int i = 0; i < 2000; ++i) {
            const std::string text = i % 2 == 0
                                         ? random_text(random, 1 + random() % 30, i % 8 == 0 ? 10 : 0)
                                         : random_letters(random, random() % 20) + " " + random_letters(random, 9);
            Ids expected;
            for (const std::string& piece : pieces_of(*generic, text)) {
                const Ids ids = reference_merge(definition, piece);
                expected.insert(expected.end(), ids.begin(), ids.end());
            }
            Ids ids(text.size() + BpeEncoder::kSlack);
            ids.resize(encoder.encode(text, text.size(), ids.data()));  // its cache fills
            ASSERT_EQ(ids, expected) << text;
            ASSERT_EQ(encode(model, text, SplitPath::generic), expected) << text;
        }
    }
}

TEST(Encode, P25_AWholePieceThatIsATokenIsThatTokenOnlyWhereMergesAreIgnored) {
    BpeDefinition definition = with_tokens({{"a", "b"}});
    definition.tokens.push_back("abc");  // no merge makes it
    const auto token = static_cast<std::uint32_t>(definition.tokens.size() - 1);
    EXPECT_EQ(encode(model_of(definition), "abc").size(), 2u);
    definition.ignore_merges = true;
    EXPECT_EQ(encode(model_of(definition), "abc"), (Ids{token}));
    EXPECT_EQ(encode(model_of(definition), "abcabc"), reference_merge(definition, "abcabc"));
}

TEST(Encode, P26_TextNeverMakesASpecialTokenUnlessTheCallerAsks) {
    BpeDefinition definition = with_tokens({{"a", "b"}});
    definition.added.push_back({500, "<|x|>", true});
    definition.added.push_back({501, "<tab>", false});
    definition.tokens.resize(502);
    const auto model = model_of(definition);
    const std::string text = "ab<|endoftext|>ab<|x|><tab>ab";
    BpeEncoder encoder(model);
    EXPECT_EQ(encoder.count_special(text), 2u);
    const Ids ordinary = encode(model, text);
    EXPECT_EQ(std::ranges::count(ordinary, 256u) + std::ranges::count(ordinary, 500u), 0);
    EXPECT_EQ(std::ranges::count(ordinary, 501u), 1);  // added, but not special: it is part of the vocabulary of texts
    EXPECT_EQ(decode(*model, ordinary), text);
    EXPECT_EQ(encoder.encode_with_special(text), (Ids{257, 256, 257, 500, 501, 257}));
}

TEST(Encode, OfAddedTokensTheLongestIsTaken) {
    BpeDefinition definition = with_tokens({});
    definition.added.push_back({300, "<<", false});
    definition.added.push_back({301, "<<<", false});
    definition.tokens.resize(302);
    EXPECT_EQ(encode(model_of(definition), "<<<<<"), (Ids{301, 300}));
}

TEST(Encode, P27_AnyBytesDecodeToThemselves) {
    std::mt19937_64 random(11);
    const auto model = model_of(random_definition(random, 300, kLlama3Pattern));
    std::string all;
    for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
    for (int first = 0x80; first < 0x100; ++first) {
        for (int second = 0; second < 256; second += 5) {
            all += {static_cast<char>(first), static_cast<char>(second)};
        }
    }
    EXPECT_EQ(decode(*model, encode(model, all)), all);
    EXPECT_EQ(encode(model, all), encode(model, all, SplitPath::generic));
    const std::string surrogate = "a\xED\xA0\x80z";  // a lone surrogate
    EXPECT_EQ(decode(*model, encode(model, surrogate)), surrogate);
}

TEST(TokenIds, P18_TakeFourBytesWhereTheVocabularyAsksForThemAndNeverWrap) {
    EXPECT_EQ(id_bytes(65536), 2u);
    EXPECT_EQ(id_bytes(65537), 4u);
    const Ids ids{0, 65535, 65536};
    std::vector<std::byte> stored(12);
    store_ids(std::span(ids).first(2), 2, stored.data());
    std::vector<std::int64_t> read(2);
    load_ids(stored.data(), 2, std::span(read));
    EXPECT_EQ(read, (std::vector<std::int64_t>{0, 65535}));
    EXPECT_THROW(store_ids(ids, 2, stored.data()), InternalError);
    store_ids(ids, 4, stored.data());
    read.resize(3);
    load_ids(stored.data(), 4, std::span(read));
    EXPECT_EQ(read, (std::vector<std::int64_t>{0, 65535, 65536}));
    EXPECT_EQ(largest_id(stored, 4), 65536u);
}

}  // namespace
}  // namespace kiban::data
