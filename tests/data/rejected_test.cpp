// SPDX-License-Identifier: Apache-2.0
// Lines of JSONL that are no documents: refused, or, where the source allows some, left out and counted.
#include "data/card.h"
#include "data/prepare.h"
#include "monitoring/error.h"
#include "tests/data/files.h"
#include "tests/data/shuffled.h"

namespace kiban::data {
namespace {

// 95 documents and 5 lines of several kinds that are none.
std::string lines_with_bad_ones() {
    const std::string deep(200, '[');
    const std::vector<std::string> bad = {"{\"text\":", "[1]", "{\"body\":\"x\"}", "{\"text\":7}",
                                          "{\"text\":" + deep + "}"};
    std::string lines;
    for (int i = 0; i < 95; ++i) {
        lines += fmt::format("{{\"text\":\"document {}\"}}\n", i);
        if (i % 20 == 10) lines += bad[static_cast<std::size_t>(i / 20)] + "\n";
    }
    return lines;
}

TEST(RejectedLines, P17_AreCountedByReasonAndTheRestIsKept) {
    const TempDirectory directory;
    directory.write("a.jsonl", lines_with_bad_ones());
    DataConfig config = config_of("a.jsonl");
    config.unit_bytes = 300;
    const auto prepare = [&] { return prepare_here(config, directory.path(), directory / "corpora"); };
    EXPECT_NE(message_of<DataError>(prepare).find("line 12: expected a JSON object, found malformed JSON"),
              std::string::npos);
    config.sources[0].max_bad_lines = 0.04;
    EXPECT_NE(message_of<DataError>(prepare).find("5 of its 100 lines are no documents"), std::string::npos);
    config.sources[0].max_bad_lines = 0.05;
    const Manifest manifest = prepare();
    EXPECT_EQ(manifest.sources[0].documents, 95u);
    const std::map<std::string, std::uint64_t> expected{
        {"malformed_json", 1}, {"no_object", 1}, {"no_text_field", 2}, {"too_deep", 1}};
    EXPECT_EQ(manifest.sources[0].rejected, expected);
    EXPECT_EQ(Manifest::load(manifest.directory / "manifest.json").sources[0].rejected, expected);
    EXPECT_NE(data_card(manifest).find("* lines that are no documents, no_text_field: 2\n"), std::string::npos);
    std::vector<std::string> documents;
    for (int i = 0; i < 95; ++i) documents.push_back(fmt::format("document {}", i));
    EXPECT_EQ(tokens_of(manifest, manifest.sources[0].train), ids_of(documents));
    const auto files = contents(manifest.directory);
    EXPECT_TRUE(prepare_shuffled(config, directory, "shuffled", 1).files == files);
}

TEST(RejectedLines, AreCountedBeforeAnythingIsCleaned) {
    const TempDirectory directory;
    directory.write("a.jsonl", lines_with_bad_ones());
    DataConfig config = config_of("a.jsonl");
    config.sources[0].max_bad_lines = 0.05;
    config.clean.normalise = "text";
    config.clean.deduplicate = "near";
    const Manifest manifest = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_EQ(manifest.sources[0].rejected.at("no_text_field"), 2u);
    EXPECT_EQ(manifest.sources[0].cleaned.documents, 95u);
}

TEST(RejectedLines, P22_ALineThatIsTooLongGoesAsAWhole) {
    const TempDirectory directory;
    // What a reader that went on in its middle would take for a document.
    std::string lines = "{\"text\":\"before\"}\n" + std::string((64u << 20) + 1, ' ');
    lines += "{\"text\":\"within\"}\n{\"text\":\"after\"}\n";
    directory.write("a.jsonl", lines);
    DataConfig config = config_of("a.jsonl");
    config.sources[0].max_bad_lines = 0.5;
    for (const std::uint64_t unit_bytes : {config.unit_bytes, std::uint64_t{1} << 30}) {  // also all in one unit
        config.unit_bytes = unit_bytes;
        const Manifest manifest =
            prepare_here(config, directory.path(), directory / ("corpora-" + std::to_string(unit_bytes)));
        EXPECT_EQ(tokens_of(manifest, manifest.sources[0].train), ids_of({"before", "after"})) << unit_bytes;
        EXPECT_EQ(manifest.sources[0].rejected, (std::map<std::string, std::uint64_t>{{"too_long", 1}}));
    }
}

TEST(SpecialTexts, P26_OfDocumentsAreCountedInTheManifestAndTheCard) {
    const TempDirectory directory;
    std::string lines;
    for (std::uint64_t i = 0; i < 5; ++i) lines += nlohmann::json{{"text", words(3'000, i)}}.dump() + "\n";
    directory.write("a.jsonl", lines + "{\"text\":\"an <|endoftext|> and <|endoftext|>\"}\n");
    DataConfig config = config_of("a.jsonl");
    config.tokenizer = "bpe:300";
    const Manifest manifest = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_EQ(manifest.sources[0].special_texts, 2u);
    EXPECT_EQ(Manifest::load(manifest.directory / "manifest.json").sources[0].special_texts, 2u);
    EXPECT_NE(data_card(manifest).find("taken as ordinary text: 2\n"), std::string::npos);
}

}  // namespace
}  // namespace kiban::data
