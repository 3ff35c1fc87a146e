// SPDX-License-Identifier: Apache-2.0
#include "data/prepare.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "data/shard.h"
#include "data/staging.h"
#include "monitoring/error.h"
#include "tests/data/files.h"
#include "tests/data/shuffled.h"

namespace kiban::data {
namespace {

// Documents of every kind, several to a unit and several units to a document.
void write_everything(const TempDirectory& directory) {
    directory.write("t/a.txt", words(400'000, 1));
    directory.write("t/b/c.txt", words(3000, 2));
    directory.write("t/b/d.txt.gz", gzip(words(50'000, 3)));
    directory.write("t/e.txt.zst", zstd(words(250'000, 4)));
    directory.write("t/empty", "");
    std::string lines;
    for (std::size_t i = 0; i < 400; ++i) lines += nlohmann::json{{"text", words(20 + i % 600, i)}}.dump() + "\n";
    directory.write("j.jsonl", lines);
}

DataConfig everything(HoldoutConfig holdout) {
    DataConfig config = config_of("t");
    config.sources.emplace_back().path = "j.jsonl";
    config.holdout = holdout;
    config.unit_bytes = 70'000;
    config.shard_tokens = 150'000;
    return config;
}

std::vector<std::int64_t> joined(std::vector<std::int64_t> first, const std::vector<std::int64_t>& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}

TEST(Prepare, GivesTheBytesOfEveryFileAndAnEndForEach) {
    const TempDirectory directory;
    write_everything(directory);
    const Manifest manifest = prepare_here(everything({0.1, HoldoutBy::tail}), directory.path(), directory / "corpora");
    ASSERT_EQ(manifest.sources.size(), 2u);
    const ManifestSource& texts = manifest.sources[0];
    const auto expected = ids_of({words(400'000, 1), words(3000, 2), words(50'000, 3), words(250'000, 4)});
    EXPECT_TRUE(joined(tokens_of(manifest, texts.train), tokens_of(manifest, texts.holdout)) == expected);
    EXPECT_EQ(texts.documents, 4u);
    EXPECT_EQ(texts.holdout.tokens, expected.size() / 10);
    EXPECT_GT(texts.train.segments.size(), 3u);
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < 400; ++i) lines.push_back(words(20 + i % 600, i));
    EXPECT_TRUE(joined(tokens_of(manifest, manifest.sources[1].train),
                       tokens_of(manifest, manifest.sources[1].holdout)) == ids_of(lines));
    EXPECT_EQ(manifest.vocabulary, 257u);
    EXPECT_FALSE(std::filesystem::exists(manifest.directory / "staging"));
}

// nanoGPT's char-level data set: 1115394 bytes, of which it trains on int(0.9 * n) = 1003854.
TEST(Prepare, HoldsOutTheLastTenthOfATextAsNanoGptDoes) {
    const TempDirectory directory;
    directory.write("input.txt", words(1'115'394, 5));
    DataConfig config = config_of("input.txt");
    config.holdout = {0.1, HoldoutBy::tail};
    const Manifest manifest = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_EQ(manifest.sources[0].train.tokens, 1'003'856u);
    EXPECT_EQ(manifest.sources[0].holdout.tokens, 111'539u);
}

TEST(Prepare, GivesTheSameBytesWhoeverDoesTheTasksInWhateverOrder) {
    const TempDirectory directory;
    write_everything(directory);
    for (const HoldoutBy by : {HoldoutBy::tail, HoldoutBy::document}) {
        const DataConfig config = everything({0.2, by});
        const Manifest manifest = prepare_here(config, directory.path(), directory / "alone");
        const auto expected = contents(manifest.directory);
        EXPECT_GT(manifest.shards.size(), 5u);
        std::uint64_t given_back = 0;
        for (std::uint64_t seed = 1; seed <= 6; ++seed) {
            const std::string corpora = "shuffled" + std::to_string(seed) + (by == HoldoutBy::tail ? "t" : "d");
            const Shuffled shuffled = prepare_shuffled(config, directory, corpora, seed);
            given_back += shuffled.given_back;
            EXPECT_TRUE(shuffled.files == expected) << "seed " << seed;
        }
        EXPECT_GT(given_back, 10u);
    }
}

// The texts that a split holds, by cutting its ids at the ends of documents.
std::multiset<std::string> texts_of(const Manifest& manifest, Stream ManifestSource::*split) {
    std::multiset<std::string> texts;
    for (const ManifestSource& source : manifest.sources) {
        std::string text;
        for (const std::int64_t id : tokens_of(manifest, source.*split)) {
            if (id == 256) {
                texts.insert(std::exchange(text, ""));
            } else {
                text.push_back(static_cast<char>(id));
            }
        }
        EXPECT_EQ(text, "");
    }
    return texts;
}

TEST(Prepare, HoldsOutTheSameDocumentsAfterAppendReorderAndRecut) {
    const TempDirectory directory;
    std::vector<std::string> documents;
    for (std::size_t i = 0; i < 300; ++i) documents.push_back(words(100 + i, i));
    documents.push_back(words(300'000, 999));
    const auto jsonl = [](const std::vector<std::string>& texts) {
        std::string lines;
        for (const std::string& text : texts) lines += nlohmann::json{{"text", text}}.dump() + "\n";
        return lines;
    };
    directory.write("first.jsonl", jsonl(documents));
    std::vector<std::string> others(documents.rbegin(), documents.rend());
    for (std::size_t i = 0; i < 100; ++i)
        others.insert(others.begin() + static_cast<std::ptrdiff_t>(2 * i), words(50 + i, 5000 + i));
    directory.write("second/x.jsonl", jsonl(others));
    directory.write("second/large.txt", documents.back());
    directory.write("second/large.txt.gz", gzip(documents.back()));
    DataConfig first = config_of("first.jsonl");
    first.holdout = {0.3, HoldoutBy::document};
    DataConfig second = config_of("second");
    second.holdout = first.holdout;
    second.unit_bytes = 66'000;
    const Manifest before = prepare_here(first, directory.path(), directory / "corpora");
    const Manifest after = prepare_here(second, directory.path(), directory / "corpora");
    const auto held_out = texts_of(before, &ManifestSource::holdout);
    EXPECT_NEAR(static_cast<double>(held_out.size()), 90, 40);
    EXPECT_EQ(held_out.size() + texts_of(before, &ManifestSource::train).size(), 301u);
    const auto held_out_after = texts_of(after, &ManifestSource::holdout);
    const auto train_after = texts_of(after, &ManifestSource::train);
    EXPECT_EQ(held_out_after.size() + train_after.size(), 403u);
    for (const std::string& text : held_out) EXPECT_TRUE(held_out_after.contains(text) && !train_after.contains(text));
    for (const std::string& text : documents) {
        EXPECT_EQ(held_out_after.contains(text), held_out.contains(text));
    }
    EXPECT_EQ(held_out_after.count(documents.back()) + train_after.count(documents.back()), 3u);
}

TEST(Prepare, ListsTheDocumentsOfEveryShard) {
    const TempDirectory directory;
    write_everything(directory);
    const Manifest manifest = prepare_here(everything({0, HoldoutBy::tail}), directory.path(), directory / "corpora");
    const std::vector<std::string> texts{words(400'000, 1), words(3000, 2), words(50'000, 3), words(250'000, 4)};
    std::map<std::uint32_t, std::string> by_file;  // ordinals: a.txt, b/c.txt, b/d.txt.gz, e.txt.zst, empty
    for (const Segment& segment : manifest.sources[0].train.segments) {
        const Shard shard(manifest.directory / manifest.shards[segment.shard].file);
        const ShardDocuments documents = shard.documents();
        EXPECT_EQ(documents.offsets.front(), 0u);
        EXPECT_EQ(documents.offsets.back(), shard.tokens());
        for (std::size_t i = 0; i < documents.size(); ++i) {
            EXPECT_EQ(documents.ids[i], document_id_of(texts.at(documents.files[i])));
            EXPECT_EQ(documents.records[i], 0u);
            const bool continues = i == 0 && documents.first_continues;
            EXPECT_EQ(continues, by_file.contains(documents.files[i]));
            for (const std::int64_t id :
                 shard.read(documents.offsets[i], documents.offsets[i + 1] - documents.offsets[i])) {
                if (id != 256) by_file[documents.files[i]].push_back(static_cast<char>(id));
            }
        }
    }
    ASSERT_EQ(by_file.size(), 4u);
    for (std::uint32_t file = 0; file < 4; ++file) EXPECT_TRUE(by_file[file] == texts[file]) << file;
    const Segment lines = manifest.sources[1].train.segments.at(0);
    const ShardDocuments documents = Shard(manifest.directory / manifest.shards[lines.shard].file).documents();
    const std::string jsonl = read_file(directory / "j.jsonl");
    for (std::size_t i = 1; i < documents.size(); ++i) {
        EXPECT_EQ(jsonl[documents.records[i] - 1], '\n');
        EXPECT_EQ(jsonl[documents.records[i]], '{');
    }
    EXPECT_EQ(std::ranges::count(read_file(manifest.directory / "inputs.jsonl"), '\n'), 6);
}

TEST(Prepare, NewTimesGiveANewDirectoryAndTheSameManifest) {
    const TempDirectory directory;
    write_everything(directory);
    const DataConfig config = everything({0.1, HoldoutBy::tail});
    const Manifest before = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_TRUE(Preparation(config, directory.path(), directory / "corpora").finished());
    std::filesystem::last_write_time(directory / "t/a.txt",
                                     std::filesystem::file_time_type::clock::now() - std::chrono::hours(5));
    EXPECT_FALSE(Preparation(config, directory.path(), directory / "corpora").finished());
    const Manifest after = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_NE(after.directory, before.directory);
    EXPECT_EQ(after.digest(), before.digest());
    directory.write("t/a.txt", words(400'000, 77));
    EXPECT_NE(prepare_here(config, directory.path(), directory / "corpora").digest(), before.digest());
}

TEST(Prepare, SourceIdsDoNotDependOnOtherSourcesOrOnTheCut) {
    const TempDirectory directory;
    directory.write("a.txt", words(3 * kBlockTokens, 1));
    directory.write("b.txt", words(90'000, 2));
    DataConfig both = config_of("a.txt");
    both.sources.emplace_back().path = "b.txt";
    DataConfig alone = config_of("b.txt");
    alone.unit_bytes = kLeafBytes;
    DataConfig cut = config_of("a.txt");
    cut.shard_tokens = kBlockTokens;
    cut.unit_bytes = 300'000;
    const Manifest manifest = prepare_here(both, directory.path(), directory / "corpora");
    EXPECT_EQ(prepare_here(alone, directory.path(), directory / "corpora").sources[0].id, manifest.sources[1].id);
    EXPECT_EQ(prepare_here(cut, directory.path(), directory / "corpora").sources[0].id, manifest.sources[0].id);
    EXPECT_NE(manifest.sources[0].id, manifest.sources[1].id);
}

// Whenever a result comes in, a file lies where the staging directory was.
TEST(Prepare, WhatTheDiskRefusesTheNextCallTriesAnew) {
    const TempDirectory directory;
    directory.write("a.txt", words(5000, 1));
    Preparation preparation(config_of("a.txt"), directory.path(), directory / "corpora");
    const auto staging = preparation.manifest_file().parent_path() / "staging";
    int refused = 0;
    while (const auto task = preparation.next_task()) {
        const nlohmann::json result = run_task(*task);
        std::filesystem::rename(staging, directory / "away");
        std::ofstream(staging) << "in the way";
        try {
            preparation.complete(task->at("id").get<std::uint64_t>(), result);
        } catch (const IoError&) {
            ++refused;
        }
        EXPECT_FALSE(preparation.finished());
        std::filesystem::remove(staging);
        std::filesystem::rename(directory / "away", staging);
    }
    EXPECT_GT(refused, 0);
    EXPECT_TRUE(preparation.finished());
    const Manifest alone = prepare_here(config_of("a.txt"), directory.path(), directory / "alone");
    EXPECT_TRUE(contents(preparation.manifest_file().parent_path()) == contents(alone.directory));
}

// What is not there when it is looked for is not there, although it comes in the next instant.
TEST(Prepare, AStagedUnitThatAnotherProcessPublishesMeanwhileIsThereOrNot) {
    const TempDirectory directory;
    const std::filesystem::path name = directory / "unit-000000.tokens";
    StagedUnitWriter writer(directory.path(), 2);
    writer.publish(name, nlohmann::json{{"unit", 0}});
    std::atomic<bool> over = false;
    std::thread other([&] {
        while (!over) {
            std::filesystem::rename(name, directory / "away");
            std::filesystem::rename(directory / "away", name);
        }
    });
    std::array<int, 2> times{};  // absent, there
    EXPECT_NO_THROW({
        for (int i = 0; i < 20000 || times[0] == 0 || times[1] == 0; ++i)
            ++times[StagedUnit::open(name).has_value() ? 1 : 0];
    });
    over = true;
    other.join();
}

TEST(Prepare, ReportsProgress) {
    const TempDirectory directory;
    write_everything(directory);
    Preparation preparation(everything({0.1, HoldoutBy::tail}), directory.path(), directory / "corpora");
    PrepareProgress progress = preparation.progress();
    EXPECT_EQ(progress.tasks_done, 0u);
    EXPECT_GT(progress.tasks_total, 8u);
    while (const auto task = preparation.next_task())
        preparation.complete(task->at("id").get<std::uint64_t>(), run_task(*task));
    progress = preparation.progress();
    EXPECT_EQ(progress.tasks_done, progress.tasks_total);
    EXPECT_EQ(progress.input_bytes_done, progress.input_bytes_total);
    EXPECT_EQ(progress.documents, 404u);
    EXPECT_EQ(
        Preparation(everything({0.1, HoldoutBy::tail}), directory.path(), directory / "corpora").progress().tokens,
        progress.tokens);
}

}  // namespace
}  // namespace kiban::data
