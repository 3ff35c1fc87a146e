// SPDX-License-Identifier: Apache-2.0
// What cleaning does to one text: closed forms, and the standard's own example.
#include <random>

#include "data/bpe/unicode.h"
#include "data/clean/cleaner.h"
#include "data/clean/filter.h"
#include "data/clean/normalise.h"
#include "monitoring/error.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

using std::string_literals::operator""s;

std::string normalised(std::string text) {
    normalise_text(text);
    return text;
}

const std::string kBad = "\xEF\xBF\xBD";

// The Unicode standard, table 3-8, and the cases of its section 3.9.
TEST(Normalise, ReplacesEachSequenceThatIsNoUtf8AsTheStandardDoes) {
    EXPECT_EQ(normalised("a\xF1\x80\x80\xE1\x80\xC2"
                         "b\x80"
                         "c\x80\xBF"
                         "d"),
              "a" + kBad + kBad + kBad + "b" + kBad + "c" + kBad + kBad + "d");
    EXPECT_EQ(normalised("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"),  // overlong forms
              kBad + kBad + kBad + kBad + kBad + kBad + kBad + kBad + "A");
    EXPECT_EQ(normalised("\xED\xA0\x80\xED\xBF\xBF\x41"),  // surrogates
              kBad + kBad + kBad + kBad + kBad + kBad + "A");
    EXPECT_EQ(normalised("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"),
              kBad + kBad + kBad + kBad + kBad + "A" + kBad + kBad + "B");
    EXPECT_EQ(normalised("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), kBad + kBad + kBad + kBad + "A");
}

TEST(Normalise, TakesOutControlCharactersAndMakesOneKindOfLineEnd) {
    std::string text = "\xEF\xBB\xBFone\r\ntwo\rthree\n\tfour\0five\x1B[0m\x7F \xEF\xBB\xBF基盤\r"s;
    const NormaliseCounts counts = normalise_text(text);
    EXPECT_EQ(text, "one\ntwo\nthree\n\tfourfive[0m \xEF\xBB\xBF基盤\n");
    EXPECT_EQ(counts.line_ends, 3u);
    EXPECT_EQ(counts.control_bytes, 3u + 3u);
    EXPECT_EQ(counts.ill_formed_bytes, 0u);
    EXPECT_FALSE(normalise_text(text).changed()) << "what is normal stays";
}

TEST(Normalise, OfAnyBytesGivesUtf8OnceAndForAll) {
    std::mt19937_64 random(7);
    for (int round = 0; round < 20'000; ++round) {
        std::string text(random() % 40, '\0');
        for (char& letter : text) letter = static_cast<char>(random() % 3 == 0 ? random() : 'a' + random() % 26);
        const std::string once = normalised(text);
        ASSERT_TRUE(is_utf8(once));
        ASSERT_EQ(once.find_first_of("\r\0\x7F"s), std::string::npos);
        ASSERT_EQ(normalised(once), once);
    }
}

// A text that every rule below lets pass, with room on both sides.
const std::string kGood =
    "The boat left the harbour with two men and a dog.\nNobody had asked them to be back before the storm.\n\n"
    "They did not have a map, and of the stars they knew only a few.\n";

TEST(Filter, WithoutRulesTakesEveryText) {
    EXPECT_EQ(broken_rule({}, ""), "");
    EXPECT_EQ(broken_rule({}, "# ... #"), "");
}

struct RuleCase {
    const char* name;
    FilterConfig rule;
    std::string passes;
    std::string breaks;
};

std::string times(std::size_t count, const std::string& text) {
    std::string all;
    for (std::size_t i = 0; i < count; ++i) all += text;
    return all;
}

// Ten lines of which `repeated` say the same.
std::string ten_lines(int repeated) {
    std::string text;
    for (int i = 0; i < 10; ++i) text += fmt::format("line{}\n", i < repeated ? 0 : i);
    return text;
}

std::vector<RuleCase> rule_cases() {
    return {
        {"min_words", {.min_words = 3}, "one two\nthree", "one two"},
        {"max_words", {.max_words = 3}, "one two three", "a b c d"},
        {"min_word_length", {.min_word_length = 3}, "abc de基", "ab de基"},  // 3 and 2.5 characters, not bytes
        {"max_word_length", {.max_word_length = 3}, "ab cdef", "ab cdefg"},
        {"max_symbols", {.max_symbols = 0.5}, "a # b c...", "a # b..."},
        {"max_bullet_lines", {.max_bullet_lines = 0.5}, "- a\n\nb\n", "- a\n• b\nc"},
        {"max_ellipsis_lines", {.max_ellipsis_lines = 0.5}, "a...\nb", "a...\nb…\nc"},
        {"min_letter_words", {.min_letter_words = 0.5}, "ab 12", "ab 12 34"},
        {"min_stop_words", {.min_stop_words = 2}, "the cat and dog", "the the the"},
        {"max_repeated_lines", {.max_repeated_lines = 0.3}, ten_lines(4), ten_lines(5)},
        {"max_repeated_line_bytes", {.max_repeated_line_bytes = 0.3}, "aaaa\nbbb\naaaa\nccc", "aaaa\nbb\naaaa\ncc"},
        {"max_repeated_paragraphs", {.max_repeated_paragraphs = 0.3}, "a\nb\n\na\nb\n\nc\n\nd", "a\n\na\n\nb"},
        {"max_repeated_paragraph_bytes", {.max_repeated_paragraph_bytes = 0.3}, "aa\n\nbbbb\n\naa", "aa\n\nbb\n\naa"},
        {"min_ended_lines", {.min_ended_lines = 0.5}, "a.\nb", "a。\nb\nc"},
        {"max_short_lines", {.max_short_lines = 0.5}, "a\n" + times(31, "盤"), "a\n" + times(30, "盤")},
        {"max_lines_per_word", {.max_lines_per_word = 0.5}, "a b\nc d", "a b\nc"},
    };
}

TEST(Filter, EachRuleStandsAtItsLimit) {
    for (const RuleCase& rule : rule_cases()) {
        EXPECT_EQ(broken_rule(rule.rule, rule.passes), "") << rule.name;
        EXPECT_EQ(broken_rule(rule.rule, rule.breaks), rule.name) << rule.name;
    }
}

// Of 20 words of one letter, a pair that stands k times has 2k of 20 letters: Gopher's limit for pairs is 0.20.
TEST(Filter, RepeatedRunsOfWordsAreMeasuredInBytes) {
    const FilterConfig rules{.max_repeated_ngrams = 1};
    EXPECT_EQ(broken_rule(rules, "a b c d e a b f g h i j k l m n o p q r"), "");
    EXPECT_EQ(broken_rule(rules, "a b c d e a b f g h a b k l m n o p q r"), "max_repeated_ngrams");
    EXPECT_EQ(broken_rule({.max_repeated_ngrams = 2}, "a b c d e a b f g h a b k l m n o p q r"), "");
    // Ten words that stand twice in 100 are 0.10 of them, at the limit for runs of ten; eleven are more.
    std::string text;
    for (int i = 0; i < 80; ++i) text += fmt::format("{:02} ", i);
    std::string run;
    for (int i = 0; i < 10; ++i) run += fmt::format("{} ", static_cast<char>('a' + i) + "x"s);
    EXPECT_EQ(broken_rule(rules, text + run + run), "");
    EXPECT_EQ(broken_rule(rules, text.substr(9) + run + run), "max_repeated_ngrams");
}

TEST(Filter, GophersRulesTakeProseAndLeaveTables) {
    const FilterConfig gopher{.min_words = 50,
                              .max_words = 100'000,
                              .min_word_length = 3,
                              .max_word_length = 10,
                              .max_symbols = 0.1,
                              .max_bullet_lines = 0.9,
                              .max_ellipsis_lines = 0.3,
                              .min_letter_words = 0.8,
                              .min_stop_words = 2,
                              .max_repeated_lines = 0.3,
                              .max_repeated_line_bytes = 0.2,
                              .max_repeated_paragraphs = 0.3,
                              .max_repeated_paragraph_bytes = 0.2};
    EXPECT_EQ(broken_rule(gopher, kGood), "min_words");
    std::string prose = kGood;
    for (const char* name : {"Maria", "Kenji", "Olga"})
        prose += fmt::format("Then {} came to the harbour and told the story of {} and the sea again.\n", name, name);
    EXPECT_EQ(broken_rule(gopher, prose), "");
    EXPECT_EQ(broken_rule(gopher, times(20, "Home | About | Contact\n")), "min_letter_words");
}

TEST(Cleaner, ADocumentThatIsTooLargeForTheMemoryIsRefusedByFile) {
    class Nobody : public DocumentSink {
        void begin(const Piece&, std::uint64_t) override { ADD_FAILURE(); }
        void add(std::span<const std::byte>) override {}
        void end(bool) override {}
    } nobody;
    CleanConfig config;
    config.normalise = "text";
    Cleaner cleaner(config, nullptr, nobody);
    Piece piece;
    piece.path = "large.txt";
    cleaner.begin(piece, 0);
    const std::string part(1u << 20, 'a');
    for (int i = 0; i < 64; ++i) cleaner.add(std::as_bytes(std::span(part)));
    EXPECT_NE(message_of<DataError>([&] { cleaner.add(std::as_bytes(std::span(part).first(1))); }).find("'large.txt'"),
              std::string::npos);
}

}  // namespace
}  // namespace kiban::data
