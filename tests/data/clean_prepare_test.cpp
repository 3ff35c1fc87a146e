// SPDX-License-Identifier: Apache-2.0
// A corpus that is cleaned is the corpus of the cleaned documents, whoever does the work.
#include <algorithm>
#include <set>

#include "data/prepare.h"
#include "data/shard.h"
#include "monitoring/error.h"
#include "tests/data/files.h"
#include "tests/data/shuffled.h"

namespace kiban::data {
namespace {

std::string line(const std::string& text) { return nlohmann::json{{"text", text}}.dump() + "\n"; }

std::vector<std::int64_t> all_tokens(const Manifest& manifest, std::size_t source) {
    auto tokens = tokens_of(manifest, manifest.sources[source].train);
    const auto held_out = tokens_of(manifest, manifest.sources[source].holdout);
    tokens.insert(tokens.end(), held_out.begin(), held_out.end());
    return tokens;
}

TEST(CleanCorpus, HoldsWhatIsLeftAndSaysWhatIsNot) {
    const TempDirectory directory;
    directory.write("a.jsonl", line("one two three\r\n") + line("one") + line("") + line("four five six"));
    directory.write("b/whole.txt", std::string("seven eight\0 nine", 17) + words(200'000, 1));
    directory.write("b/noise.bin", std::string(1000, '\xFF'));
    DataConfig config = config_of("a.jsonl");
    config.sources.emplace_back().path = "b";
    config.unit_bytes = 70'000;
    config.clean.normalise = "text";
    config.clean.filter.min_words = 2;
    const Manifest manifest = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_EQ(all_tokens(manifest, 0), ids_of({"one two three\n", "four five six"}));
    EXPECT_TRUE(all_tokens(manifest, 1) == ids_of({"seven eight nine" + words(200'000, 1)}));
    const CleanCounts& lines = manifest.sources[0].cleaned;
    EXPECT_EQ(lines.documents, 3u);
    EXPECT_EQ(lines.dropped, (std::map<std::string, std::uint64_t>{{"min_words", 1}}));
    EXPECT_EQ(lines.changed, (std::map<std::string, std::uint64_t>{{"line_ends", 1}, {"normalised_documents", 1}}));
    const CleanCounts& texts = manifest.sources[1].cleaned;
    EXPECT_EQ(texts.documents, 2u);
    EXPECT_EQ(texts.bytes, 200'017u + 1000u);
    EXPECT_EQ(texts.dropped, (std::map<std::string, std::uint64_t>{{"no_text", 1}}));
    EXPECT_EQ(texts.changed.at("control_bytes"), 1u);
    EXPECT_EQ(manifest.sources[0].documents, 2u);
    EXPECT_EQ(Manifest::load(manifest.directory / "manifest.json").to_json(), manifest.to_json());
}

// Documents of two sources, of which many are there several times.
DataConfig with_duplicates(const TempDirectory& directory) {
    std::string first;
    std::string second;
    for (std::size_t i = 0; i < 600; ++i) first += line(words(230 + i % 50, i % 200));
    for (std::size_t i = 100; i < 500; ++i) second += line(words(230 + i % 50, i % 300));
    directory.write("first.jsonl", first);
    directory.write("second.jsonl.gz", gzip(second));
    DataConfig config = config_of("first.jsonl");
    config.sources.emplace_back().path = "second.jsonl.gz";
    config.unit_bytes = 30'000;
    config.shard_tokens = 10'000;
    config.clean.deduplicate = "exact";
    return config;
}

TEST(CleanCorpus, KeepsTheFirstOfEqualDocumentsOverAllSources) {
    const TempDirectory directory;
    const Manifest manifest = prepare_here(with_duplicates(directory), directory.path(), directory / "corpora");
    std::set<std::string> seen;
    for (std::size_t source : {0u, 1u}) {
        std::vector<std::string> expected;
        for (std::size_t i = source == 0 ? 0 : 100; i < (source == 0 ? 600 : 500); ++i) {
            const std::string text = words(230 + i % 50, source == 0 ? i % 200 : i % 300);
            if (seen.insert(text).second) expected.push_back(text);
        }
        EXPECT_GT(expected.size(), 50u);
        EXPECT_TRUE(all_tokens(manifest, source) == ids_of(expected)) << source;
        EXPECT_EQ(manifest.sources[source].documents, expected.size());
        EXPECT_EQ(manifest.sources[source].cleaned.dropped.at("duplicate"),
                  (source == 0 ? 600u : 400u) - expected.size());
    }
}

TEST(CleanCorpus, IsTheSameBytesWhoeverDoesTheTasksInWhateverOrder) {
    const TempDirectory directory;
    for (const HoldoutBy by : {HoldoutBy::tail, HoldoutBy::document}) {
        DataConfig config = with_duplicates(directory);
        config.holdout = {0.2, by};
        config.clean.normalise = "text";
        config.clean.filter.max_word_length = 9;
        config.tokenizer = "bpe:300";
        const Manifest manifest = prepare_here(config, directory.path(), directory / "alone");
        const auto expected = contents(manifest.directory);
        EXPECT_GT(manifest.shards.size(), 3u);
        for (std::uint64_t seed = 1; seed <= 3; ++seed) {
            const std::string corpora = fmt::format("shuffled-{}-{}", seed, by == HoldoutBy::tail ? "t" : "d");
            EXPECT_TRUE(prepare_shuffled(config, directory, corpora, seed).files == expected) << seed;
        }
    }
}

TEST(CleanCorpus, TrainsItsTokenizerOnWhatIsLeft) {
    const TempDirectory directory;
    std::string all;
    std::string good;
    for (std::size_t i = 0; i < 200; ++i) {
        const std::string text = words(300, i);
        all += line(text) + line(fmt::format("x{}", i));
        good += line(text);
    }
    directory.write("all.jsonl", all);
    directory.write("good.jsonl", good);
    DataConfig config = config_of("all.jsonl");
    config.tokenizer = "bpe:400";
    config.clean.filter.min_words = 2;
    const Manifest cleaned = prepare_here(config, directory.path(), directory / "corpora");
    config.sources[0].path = "good.jsonl";
    config.clean = {};
    const Manifest given = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_EQ(cleaned.tokenizer_sha256, given.tokenizer_sha256);
    EXPECT_TRUE(all_tokens(cleaned, 0) == all_tokens(given, 0));
    EXPECT_EQ(cleaned.sources[0].id, given.sources[0].id);
    EXPECT_NE(cleaned.directory, given.directory);
}

TEST(CleanCorpus, AnUnknownWordIsRefused) {
    DataConfig config = config_of("a.jsonl");
    config.clean.deduplicate = "fuzzy";
    EXPECT_NE(message_of<ConfigError>([&] { validate(config); }).find("'none', 'exact' or 'near'"), std::string::npos);
    config.clean = {};
    config.clean.normalise = "nfkc";
    EXPECT_NE(message_of<ConfigError>([&] { validate(config); }).find("'none' or 'text'"), std::string::npos);
}

}  // namespace
}  // namespace kiban::data
