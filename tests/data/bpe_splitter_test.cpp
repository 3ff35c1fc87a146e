// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>

#include "bpe_checks.h"
#include "bpe_reference.h"
#include "data/bpe/segments.h"
#include "data/bpe/splitter.h"
#include "data/bpe/unicode.h"
#include "files.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

std::vector<std::string> pieces(const std::string& pattern, const std::string& text) {
    const SplitterFactory factory({pattern});
    EXPECT_TRUE(factory.has_scanner()) << pattern;
    const auto scanner = factory.make();
    const auto generic = factory.make_generic();
    const std::vector<std::string> found = pieces_of(*scanner, text);
    EXPECT_EQ(found, pieces_of(*generic, text)) << pattern;
    return found;
}

using Pieces = std::vector<std::string>;

TEST(Splitter, CutsAsGpt2Does) {
    EXPECT_EQ(pieces(kGpt2Pattern, "Hello world, it's 2024!"),
              (Pieces{"Hello", " world", ",", " it", "'s", " 2024", "!"}));
    EXPECT_EQ(pieces(kGpt2Pattern, "a  b\n\n  c  "), (Pieces{"a", " ", " b", "\n\n ", " c", "  "}));
    EXPECT_EQ(pieces(kGpt2Pattern, "I'LL we'll 'tis"), (Pieces{"I", "'", "LL", " we", "'ll", " '", "tis"}));
    EXPECT_EQ(pieces(kGpt2Pattern, "漢字かな 123abc"), (Pieces{"漢字かな", " 123", "abc"}));
}

TEST(Splitter, CutsAsLlama3Does) {
    EXPECT_EQ(pieces(kLlama3Pattern, "Hello world, it'S 12345!"),
              (Pieces{"Hello", " world", ",", " it", "'S", " ", "123", "45", "!"}));
    EXPECT_EQ(pieces(kLlama3Pattern, "a (b)\n\n  c;\r\n\tfoo"),
              (Pieces{"a", " (", "b", ")\n\n", " ", " c", ";\r\n", "\tfoo"}));
    EXPECT_EQ(pieces(kLlama3Pattern, "x \n \n  y"), (Pieces{"x", " \n \n", " ", " y"}));
    EXPECT_EQ(pieces(kLlama3Pattern, "it'\u017F fine"), (Pieces{"it", "'\u017F", " fine"}));  // a long s is an s
    EXPECT_EQ(pieces(kQwen2Pattern, "123"), (Pieces{"1", "2", "3"}));
}

TEST(Splitter, TakesWhiteSpaceAtTheEndAsOneWhereThePatternSaysSo) {
    EXPECT_EQ(pieces(kLlama3Pattern, "a\n  "), (Pieces{"a", "\n", "  "}));
    EXPECT_EQ(pieces(kCl100kPossessivePattern, "a\n  "), (Pieces{"a", "\n  "}));
    EXPECT_EQ(pieces(kGpt2PossessivePattern, "a\n  b"), (Pieces{"a", "\n ", " b"}));
}

TEST(Splitter, WhiteSpaceIsWhatUnicodeSaysItIs) {
    EXPECT_EQ(pieces(kGpt2Pattern, "a\u3000\u00A0b"), (Pieces{"a", "\u3000", "\u00A0", "b"}));
    EXPECT_EQ(pieces(kGpt2Pattern, "a\u0085b"), (Pieces{"a", "\u0085", "b"}));
    EXPECT_EQ(pieces(kGpt2Pattern, "a\u180Eb"), (Pieces{"a", "\u180E", "b"}));
    EXPECT_EQ(pieces(kGpt2Pattern, " \u180E"), (Pieces{" \u180E"}));  // a symbol since Unicode 6.3: the blank joins it
    const auto& classes = character_classes();
    for (const std::uint32_t code : std::vector<std::uint32_t>{0x09, 0x0D, 0x20, 0x85, 0xA0, 0x1680, 0x2000, 0x200A,
                                                               0x2028, 0x202F, 0x205F, 0x3000}) {
        EXPECT_EQ(classes[code], CharacterClass::space) << std::hex << static_cast<unsigned>(code);
    }
    EXPECT_EQ(classes[0x180E], CharacterClass::other);
    EXPECT_EQ(std::ranges::count(classes, CharacterClass::space), 25);  // PropList.txt: White_Space has 25 code points
}

TEST(Splitter, SaysWhichUnicodeItKnows) { EXPECT_GE(std::stoi(unicode_version()), 14); }

TEST(Splitter, ScannersCutAsTheRegularExpressionsDoOnRandomText) {
    for (const char* pattern : all_patterns())
        compare_paths_on_random_text(pattern, 20'000, 1);  // 100,000 over the five
}

TEST(Splitter, ScannersCutAsTheRegularExpressionsDoOnTheFilesOfThisProject) {
    for (const char* pattern : all_patterns()) {
        for (const char* room : {"data", "tests/data", "monitoring"}) {
            compare_paths_on_files(pattern, std::filesystem::path(KIBAN_SOURCE_DIR) / room, 2u << 20);
        }
    }
}

TEST(Splitter, APatternOfSomebodyElseGoesThroughRegularExpressions) {
    const SplitterFactory factory({"[A-Z][a-z]*|[0-9]+"});
    EXPECT_FALSE(factory.has_scanner());
    EXPECT_EQ(pieces_of(*factory.make(), "xHelloWorld12!"), (Pieces{"x", "Hello", "World", "12", "!"}));
}

TEST(Splitter, SeveralPatternsCutOneAfterTheOther) {  // as DeepSeek's: numbers first, then scripts, then the rest
    const SplitterFactory factory({"\\p{N}{1,3}", "[一-龥]+", " ?\\p{L}+"});
    EXPECT_EQ(pieces_of(*factory.make(), "ab 12345漢字c"), (Pieces{"ab", " ", "123", "45", "漢字", "c"}));
}

TEST(Splitter, IllFormedBytesAreSymbolsAndStayWhatTheyAre) {
    EXPECT_EQ(pieces(kGpt2Pattern, "a\xFF\xFE b\xE2\x82"), (Pieces{"a", "\xFF\xFE", " b", "\xE2\x82"}));
    EXPECT_EQ(pieces(kLlama3Pattern, "\xC0q"), (Pieces{"\xC0q"}));
}

TEST(Splitter, RefusesAPatternThatItCannotUse) {
    EXPECT_NE(message_of<ConfigError>([] { SplitterFactory({"(a"}); }).find("cannot compile the pattern '(a'"),
              std::string::npos);
    EXPECT_EQ(message_of<ConfigError>([] { SplitterFactory({"a*"}); }),
              "cannot cut text with the pattern 'a*': it matches the empty text");
}

TEST(Segments, DependNeitherOnThePartsOfATextNorLoseAByte) {
    std::mt19937_64 random(3);
    std::string text;
    while (text.size() < 3 * kSegmentBytes) text += random_text(random, 1000, 50) + (random() % 8 == 0 ? "\nx y" : "");
    const auto segments_in_parts = [&](std::size_t part) {
        std::vector<std::string> segments;
        Segmenter segmenter;
        const auto take = [&](std::string_view seen, std::size_t stop) { segments.emplace_back(seen.substr(0, stop)); };
        for (std::size_t at = 0; at < text.size(); at += part) {
            segmenter.add(std::as_bytes(std::span(text).subspan(at, std::min(part, text.size() - at))), take);
        }
        segmenter.end(take);
        return segments;
    };
    const auto whole = segments_in_parts(text.size());
    EXPECT_GE(whole.size(), 3u);
    std::string joined;
    for (const std::string& segment : whole) joined += segment;
    EXPECT_EQ(joined, text);
    EXPECT_EQ(segments_in_parts(4099), whole);
    EXPECT_EQ(segments_in_parts(kSegmentBytes + 1), whole);
}

TEST(Segments, EndWherePiecesEnd) {
    std::mt19937_64 random(4);
    for (const char* pattern : all_patterns()) {
        std::string text;
        while (text.size() < kSegmentBytes + 4096)
            text += random_text(random, 500, 30) + (random() % 2 == 0 ? "\n;" : "b c");
        std::vector<std::string> in_segments;
        const SplitterFactory factory({pattern});
        const auto splitter = factory.make();
        Segmenter segmenter;
        const auto take = [&](std::string_view seen, std::size_t stop) {
            std::size_t at = 0;
            for (const std::string& piece : pieces_of(*splitter, std::string(seen))) {
                if (at >= stop) break;
                in_segments.push_back(piece);
                at += piece.size();
            }
            EXPECT_EQ(at, stop) << pattern;  // no piece had to be cut
        };
        segmenter.add(std::as_bytes(std::span(text)), take);
        segmenter.end(take);
        EXPECT_EQ(in_segments, pieces_of(*factory.make_generic(), text)) << pattern;
    }
}

}  // namespace
}  // namespace kiban::data
