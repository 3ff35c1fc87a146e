// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>

#include "bpe_reference.h"
#include "data/bpe/splitter.h"
#include "data/bpe/train.h"
#include "files.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

WordList list_of(const std::vector<std::pair<std::string, std::uint64_t>>& words) {
    WordList list;
    for (const auto& [word, count] : words) list.add(word, count);
    return list;
}

std::vector<std::pair<std::string, std::string>> merges_of(const BpeDefinition& definition) {
    std::vector<std::pair<std::string, std::string>> merges;
    for (const auto& [left, right] : definition.merges) {
        merges.emplace_back(definition.tokens[left], definition.tokens[right]);
    }
    return merges;
}

BpeDefinition train(const WordList& words, std::uint32_t merges) {
    return train_bpe(words, 257 + merges, kGpt2Pattern, "<|endoftext|>");
}

// The words of Sennrich, Haddow and Birch: es 9, then est 9, then of lo 7, ow 7 and so on the smaller pair.
TEST(Training, LearnsTheMostFrequentPairAndOfEqualsTheSmaller) {
    const WordList words = list_of({{"low", 5}, {"lower", 2}, {"newest", 6}, {"widest", 3}});
    using Merges = std::vector<std::pair<std::string, std::string>>;
    EXPECT_EQ(merges_of(train(words, 5)), (Merges{{"e", "s"}, {"es", "t"}, {"l", "o"}, {"lo", "w"}, {"e", "w"}}));
}

TEST(Training, GivesBytesThenMergesThenTheEndOfADocument) {
    const BpeDefinition definition = train(list_of({{"abab", 3}}), 2);
    EXPECT_EQ(definition.vocabulary(), 259u);
    EXPECT_EQ(definition.tokens[0x41], "A");
    EXPECT_EQ(definition.tokens[256], "ab");
    EXPECT_EQ(definition.tokens[257], "abab");
    ASSERT_EQ(definition.added.size(), 1u);
    EXPECT_EQ(definition.added[0].id, 258u);
    EXPECT_TRUE(definition.added[0].special);
}

TEST(Training, IsTheTextbooksForAnyWords) {
    std::mt19937_64 random(5);
    for (std::size_t round = 0; round < 30; ++round) {
        WordList words;
        for (int i = 0; i < 60; ++i) {
            std::string word;
            for (std::size_t length = 1 + random() % 12; length > 0; --length) {
                word.push_back(static_cast<char>('a' + random() % (2 + round % 5)));
            }
            words.add(word, 1 + random() % 20);
        }
        const auto expected = reference_training(words, 40);
        ASSERT_EQ(expected.size(), 40u);
        auto merges = merges_of(train(words, 40));
        ASSERT_GE(merges.size(), 40u);  // more where two merges make the same token
        merges.resize(40);
        ASSERT_EQ(merges, expected);
    }
}

TEST(Training, DoesNotDependOnTheOrderOfWords) {
    std::vector<std::pair<std::string, std::uint64_t>> words;
    std::mt19937_64 random(6);
    for (int i = 0; i < 500; ++i) words.emplace_back(random_text(random, 6, 0), 1 + random() % 9);
    const std::string expected = to_tokenizer_json(train(list_of(words), 200));
    for (int round = 0; round < 3; ++round) {
        std::ranges::shuffle(words, random);
        EXPECT_EQ(to_tokenizer_json(train(list_of(words), 200)), expected);
    }
}

TEST(Training, P21_CountsInSixtyFourBits) {
    const std::uint64_t many = std::uint64_t{3} << 32;
    const auto merges = merges_of(train(list_of({{"the", many}, {"xy", 4'000'000'000}}), 3));
    EXPECT_EQ(merges[0], (std::pair<std::string, std::string>("h", "e")));
    EXPECT_EQ(merges[1], (std::pair<std::string, std::string>("t", "he")));
    EXPECT_EQ(merges[2], (std::pair<std::string, std::string>("x", "y")));
}

TEST(Training, SaysHowManyTokensATextYields) {
    EXPECT_EQ(
        message_of<DataError>([] {
            train(list_of({{"abab", 2}}), 10);
        }),
        "cannot train a tokenizer of 267 tokens: the text has pairs that occur more than once for 259 only; ask for "
        "at most bpe:259, or give more text");
}

class WordCounts : public testing::Test {
  protected:
    MergedWords merged(const std::vector<std::vector<std::string>>& units, std::uint64_t most_bytes = 1u << 30,
                       std::size_t table_bytes = 1u << 20) {
        std::vector<std::filesystem::path> files;
        for (std::size_t i = 0; i < units.size(); ++i) {
            files.push_back(directory_ / ("unit-" + std::to_string(i)));
            UnitWords words(directory_.path(), table_bytes);
            for (const std::string& word : units[i]) words.add(word);
            words.publish(files.back(), {{"unit", i}});
            EXPECT_EQ(word_counts_result(files.back()).value().at("unit"), i);
        }
        MergedWords result = merge_word_counts(files, directory_.path(), most_bytes);
        for (const auto& file : files) std::filesystem::remove(file);
        EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));  // nothing temporary is left
        return result;
    }

    TempDirectory directory_;
};

TEST_F(WordCounts, AreSummedOverUnitsWhateverTheirNumber) {
    std::vector<std::vector<std::string>> units(300);
    for (std::size_t i = 0; i < units.size(); ++i) units[i] = {"all", "unit" + std::to_string(i % 7), "all"};
    const MergedWords result = merged(units);
    EXPECT_EQ(result.words.text, "allunit0unit1unit2unit3unit4unit5unit6");
    EXPECT_EQ(result.words.counts, (std::vector<std::uint64_t>{600, 43, 43, 43, 43, 43, 43, 42}));
    EXPECT_EQ(result.left_out, 0u);
}

TEST_F(WordCounts, StayTheSameWhenTheTableOfAUnitOverflows) {
    std::mt19937_64 random(12);
    std::vector<std::string> words(3000);
    for (std::string& word : words) word = random_text(random, 1 + random() % 3, 0);
    const MergedWords whole = merged({words});
    const MergedWords in_parts = merged({words}, 1u << 30, 4096);
    EXPECT_EQ(whole.words.text, in_parts.words.text);
    EXPECT_EQ(whole.words.counts, in_parts.words.counts);
}

TEST_F(WordCounts, P22_KeepToAMemoryBudgetByLeavingOutTheRarestWordsAndSaySo) {
    std::vector<std::string> words;
    for (int i = 0; i < 100; ++i) words.push_back("rare" + std::to_string(i));
    for (int i = 0; i < 100; ++i) words.insert(words.end(), 3, "thrice" + std::to_string(i));
    const std::uint64_t budget = 100 * training_bytes(8);
    const MergedWords result = merged({words}, budget);
    EXPECT_EQ(result.least_count, 2u);
    EXPECT_EQ(result.left_out, 100u);
    EXPECT_EQ(result.left_out_bytes, 100 * 4 + 10 + 180u);
    EXPECT_EQ(result.words.size(), 100u);
    EXPECT_THROW(merged({std::vector<std::string>(3u << 20, "x")}, 8), DataError);
}

TEST_F(WordCounts, P23_TakeLongPiecesInPartsAndLoseNoByte) {
    const MergedWords result = merged({{std::string(2 * kWordBytes + 5, 'a')}});
    EXPECT_EQ(result.words.bytes, (std::vector<std::uint32_t>{5, kWordBytes}));
    EXPECT_EQ(result.words.counts, (std::vector<std::uint64_t>{1, 2}));
}

TEST_F(WordCounts, ADamagedFileIsRefused) {
    const auto file = directory_ / "unit-0";
    UnitWords words(directory_.path());
    for (const char* word : {"b", "a", "c"}) words.add(word);
    words.publish(file, {{"unit", 0}});
    const auto bytes = std::filesystem::file_size(file);
    for (const std::uint64_t at : {std::uint64_t{16}, bytes - 1, bytes - 20}) {
        flip_byte(file, at);
        EXPECT_NE(message_of<IoError>([&] { merge_word_counts({file}, directory_.path(), 1u << 20); }).find("damaged"),
                  std::string::npos)
            << at;
        flip_byte(file, at);
    }
    std::filesystem::resize_file(file, 20);
    EXPECT_THROW(word_counts_result(file), IoError);
    EXPECT_EQ(word_counts_result(directory_ / "none"), std::nullopt);
}

}  // namespace
}  // namespace kiban::data
