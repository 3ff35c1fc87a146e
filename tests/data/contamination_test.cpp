// SPDX-License-Identifier: Apache-2.0
// Texts that stand in evaluation files: found by their runs of words, left out or counted.
#include <random>

#include "data/clean/ngram_set.h"
#include "data/prepare.h"
#include "monitoring/error.h"
#include "tests/data/files.h"
#include "tests/data/shuffled.h"

namespace kiban::data {
namespace {

std::string line(const std::string& text) { return nlohmann::json{{"text", text}}.dump() + "\n"; }

// Words n to n + count - 1 of a sequence without repeats.
std::string counting(int n, int count) {
    std::string text;
    for (int i = n; i < n + count; ++i) text += fmt::format("{}w{}", i == n ? "" : " ", i);
    return text;
}

TEST(NgramSet, FindsARunOfItsLengthAndNoShorterOne) {
    NgramSet set(13);
    const std::size_t file = set.add_file("a");
    const std::size_t other = set.add_file("b");
    set.add_document(file, counting(0, 20));
    set.add_document(file, counting(100, 12));
    set.add_document(other, counting(5, 13) + " end");
    set.close();
    using Files = std::vector<std::size_t>;
    EXPECT_EQ(set.shared_with("before " + counting(7, 13) + " after"), Files{file});
    EXPECT_EQ(set.shared_with("before " + counting(7, 12) + " after"), Files{});
    EXPECT_EQ(set.shared_with("Before: " + counting(5, 13)), (Files{file, other}));
    EXPECT_EQ(set.shared_with(counting(100, 12)), Files{});
    EXPECT_EQ(set.files()[file], (EvaluationFile{"a", 2, 1, 8}));
    EXPECT_EQ(set.files()[other], (EvaluationFile{"b", 1, 0, 2}));
}

// Against a search of the words themselves.
TEST(NgramSet, AgreesWithASearchOfEveryRun) {
    std::mt19937_64 random(2);
    NgramSet set(4);
    set.add_file("a");
    std::vector<std::string> evaluation;
    const auto text = [&](std::size_t count) {
        std::string all = " ";
        for (std::size_t i = 0; i < count; ++i) all += fmt::format("{} ", static_cast<char>('a' + random() % 7));
        return all;
    };
    for (int i = 0; i < 10; ++i) {
        evaluation.push_back(text(10));
        set.add_document(0, evaluation.back());
    }
    set.close();
    int shared = 0;
    for (int i = 0; i < 2'000; ++i) {
        const std::string document = text(15);
        bool expected = false;
        for (std::size_t at = 0; at + 9 <= document.size(); at += 2) {
            for (const std::string& other : evaluation)
                expected = expected || other.find(document.substr(at, 9)) != std::string::npos;
        }
        shared += expected ? 1 : 0;
        ASSERT_EQ(!set.shared_with(document).empty(), expected) << document;
    }
    EXPECT_GT(shared, 100);
    EXPECT_LT(shared, 1'900);
}

TEST(NgramSet, SurvivesItsFileAndADamagedOneIsRefused) {
    const TempDirectory directory;
    NgramSet set(3);
    set.add_file("a");
    set.add_document(0, counting(0, 30));
    set.close();
    directory.write("set", set.to_bytes());
    const NgramSet loaded = NgramSet::load(directory / "set");
    EXPECT_EQ(loaded.to_bytes(), set.to_bytes());
    EXPECT_EQ(loaded.shared_with(counting(3, 3)).size(), 1u);
    for (const std::size_t cut : {0u, 10u, 30u, 100u}) {
        directory.write("cut", set.to_bytes().substr(0, cut));
        EXPECT_NE(message_of<DataError>([&] { NgramSet::load(directory / "cut"); }).find("it is damaged"),
                  std::string::npos);
    }
    flip_byte(directory / "set", 2);
    EXPECT_THROW(NgramSet::load(directory / "set"), DataError);
}

DataConfig with_evaluation(const TempDirectory& directory) {
    directory.write("eval/one.jsonl", line(counting(1000, 20)) + line("too short"));
    directory.write("eval/two.txt", "Ask mary@example.org for " + counting(2000, 11) + "\r\n");
    directory.write("a.jsonl", line(counting(0, 50)) + line("It was: " + counting(1003, 14) + ".") +
                                   line(counting(1005, 12)) + line("Ask john@example.com for " + counting(2000, 11)) +
                                   line(counting(60, 30)));
    DataConfig config = config_of("a.jsonl");
    config.clean.normalise = "text";
    config.clean.anonymise.all = "redact";
    config.clean.contamination.files = "eval";
    return config;
}

TEST(Contamination, OfDocumentsByEvaluationFilesIsTakenOutAndStatedByFile) {
    const TempDirectory directory;
    const DataConfig config = with_evaluation(directory);
    const Manifest manifest = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_EQ(tokens_of(manifest, manifest.sources[0].train),
              ids_of({counting(0, 50), counting(1005, 12), counting(60, 30)}))
        << "a text is compared as it is to become tokens, without the persons in it";
    const CleanCounts& cleaned = manifest.sources[0].cleaned;
    EXPECT_EQ(cleaned.dropped.at("contaminated"), 2u);
    EXPECT_TRUE(cleaned.redacted.empty()) << "the one address was in a document that went";
    EXPECT_EQ(cleaned.contaminated, (std::map<std::string, std::uint64_t>{{"eval/one.jsonl", 1}, {"eval/two.txt", 1}}));
    EXPECT_EQ(manifest.evaluation,
              (ManifestEvaluation{13, "drop", {{"eval/one.jsonl", 2, 1, 8}, {"eval/two.txt", 1, 0, 2}}}));
    EXPECT_EQ(Manifest::load(manifest.directory / "manifest.json").to_json(), manifest.to_json());
}

// What is asked of documents to train on does not take texts out of the evaluation.
TEST(Contamination, WithEvaluationTextsThatHoldWhatDropsADocumentIsFound) {
    const TempDirectory directory;
    DataConfig config = with_evaluation(directory);
    directory.write("a.jsonl", line(counting(0, 50)) + line("Ask <EMAIL> for " + counting(2000, 11)));
    for (std::string* op : {&config.clean.anonymise.all, &config.clean.anonymise.email}) {
        *op = "drop";
        const Manifest manifest = prepare_here(config, directory.path(), directory / "corpora");
        EXPECT_EQ(manifest.sources[0].cleaned.dropped.at("contaminated"), 1u);
        EXPECT_EQ(manifest.evaluation.files[1].documents, 1u);
        *op = "redact";
    }
}

TEST(Contamination, CanBeCountedOnly) {
    const TempDirectory directory;
    DataConfig config = with_evaluation(directory);
    config.clean.contamination.action = "count";
    const Manifest manifest = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_EQ(manifest.sources[0].documents, 5u);
    EXPECT_FALSE(manifest.sources[0].cleaned.dropped.contains("contaminated"));
    EXPECT_EQ(manifest.sources[0].cleaned.contaminated.at("eval/two.txt"), 1u);
}

TEST(Contamination, IsTheSameWhoeverDoesTheTasks) {
    const TempDirectory directory;
    DataConfig config = with_evaluation(directory);
    std::string lines;
    for (int i = 0; i < 400; ++i) lines += line(counting(i % 5 == 0 ? 990 + i % 40 : 10'000 + 40 * i, 40));
    directory.write("a.jsonl", lines);
    config.tokenizer = "bpe:280";
    config.unit_bytes = 20'000;
    config.clean.deduplicate = "near";
    const Manifest manifest = prepare_here(config, directory.path(), directory / "alone");
    EXPECT_GT(manifest.sources[0].cleaned.dropped.at("contaminated"), 20u);
    const auto expected = contents(manifest.directory);
    for (std::uint64_t seed = 1; seed <= 3; ++seed)
        EXPECT_TRUE(prepare_shuffled(config, directory, fmt::format("shuffled{}", seed), seed).files == expected)
            << seed;
}

TEST(Contamination, OtherEvaluationFilesMakeAnotherCorpusAndMissingOnesAreRefused) {
    const TempDirectory directory;
    DataConfig config = with_evaluation(directory);
    const Manifest before = prepare_here(config, directory.path(), directory / "corpora");
    directory.write("eval/three.txt", counting(0, 20));
    const Manifest after = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_NE(before.directory, after.directory);
    EXPECT_EQ(after.sources[0].cleaned.dropped.at("contaminated"), 3u);
    config.clean.contamination.files = "nowhere";
    EXPECT_NE(
        message_of<DataError>([&] { prepare_here(config, directory.path(), directory / "corpora"); }).find("'nowhere'"),
        std::string::npos);
    config.clean.contamination = {.files = "eval", .words = 0};
    EXPECT_NE(message_of<ConfigError>([&] { validate(config); }).find("contamination.words is 0"), std::string::npos);
    config.clean.contamination = {.files = "eval", .action = "flag"};
    EXPECT_NE(message_of<ConfigError>([&] { validate(config); }).find("'drop' or 'count'"), std::string::npos);
}

}  // namespace
}  // namespace kiban::data
