// SPDX-License-Identifier: Apache-2.0
// Corpora whose tokenizer is not bytes: trained on them, or given.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <deque>
#include <random>
#include <set>

#include "bpe_reference.h"
#include "data/corpus.h"
#include "data/digest.h"
#include "data/prepare.h"
#include "data/shard.h"
#include "data/tokenizer.h"
#include "files.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

class BpeCorpus : public testing::Test {
  protected:
    BpeCorpus() {
        directory_.write("a.txt", words(300'000, 1));
        directory_.write("b.txt.gz", gzip(words(90'000, 2)));
        std::string lines;
        for (std::uint64_t i = 0; i < 400; ++i) {
            lines += nlohmann::json{{"text", words(200, 10 + i) + "日本語" + std::to_string(i)}}.dump() + "\n";
        }
        directory_.write("c.jsonl", lines);
    }

    DataConfig config(const std::string& tokenizer, HoldoutConfig holdout = {0.1, HoldoutBy::tail}) const {
        DataConfig config = config_of("a.txt");
        config.sources.emplace_back().path = "b.txt.gz";
        config.sources.emplace_back().path = "c.jsonl";
        config.tokenizer = tokenizer;
        config.holdout = holdout;
        config.unit_bytes = 70'000;
        config.shard_tokens = 40'000;
        return config;
    }

    Manifest prepare(const DataConfig& config, const std::string& corpora = "corpora") const {
        return prepare_here(config, directory_.path(), directory_ / corpora);
    }

    TempDirectory directory_;
};

std::string text_of(const Manifest& manifest, const Stream& stream) {
    std::vector<std::int64_t> ids = tokens_of(manifest, stream);
    return manifest.load_tokenizer().decode(ids);
}

TEST_F(BpeCorpus, IsTrainedOnAndDecodesToItsText) {
    const Manifest manifest = prepare(config("bpe:600"));
    EXPECT_EQ(manifest.tokenizer, "bpe:600");
    EXPECT_EQ(manifest.vocabulary, 600u);
    EXPECT_EQ(manifest.tokenizer_sha256, sha256(read_file(manifest.directory / "tokenizer.json")));
    EXPECT_EQ(text_of(manifest, manifest.sources[0].train) + text_of(manifest, manifest.sources[0].holdout),
              words(300'000, 1));
    EXPECT_EQ(text_of(manifest, manifest.sources[1].train) + text_of(manifest, manifest.sources[1].holdout),
              words(90'000, 2));
    EXPECT_LT(manifest.sources[0].train.tokens, 200'000u);  // it has learned something
    const Shard shard(manifest.directory / manifest.shards[0].file);
    EXPECT_EQ(shard.tokenizer(), "bpe:600");
    EXPECT_EQ(shard.tokenizer_sha256(), manifest.tokenizer_sha256);
}

// Any number of workers that ask, finish and lose tasks in any order.
TEST_F(BpeCorpus, IsTheSameForAnyNumberOfWorkersAndAnyOrderOfTasks) {
    for (std::uint64_t i = 0; i < 6; ++i) directory_.write("many/" + std::to_string(i), words(90'000, 30 + i));
    DataConfig split = config("bpe:400", {0.3, HoldoutBy::document});
    split.sources.resize(1);
    split.sources[0].path = "many";
    split.sources.emplace_back().path = "c.jsonl";
    const Manifest expected = prepare(split);
    for (std::size_t workers = 2; workers <= 4; ++workers) {
        std::mt19937_64 random(workers);
        const auto corpora = directory_ / ("corpora-" + std::to_string(workers));
        Preparation preparation(split, directory_.path(), corpora);
        std::deque<nlohmann::json> busy;
        while (!preparation.finished()) {
            while (busy.size() < workers) {
                auto task = preparation.next_task();
                if (!task) break;
                busy.push_back(std::move(*task));
            }
            ASSERT_FALSE(busy.empty());
            std::ranges::shuffle(busy, random);
            const nlohmann::json task = busy.front();
            busy.pop_front();
            const auto id = task.at("id").get<std::uint64_t>();
            if (random() % 4 == 0) {
                if (random() % 2 == 0) run_task(task);  // killed after the work or before it
                preparation.give_back(id);
            } else {
                preparation.complete(id, run_task(task));
            }
        }
        EXPECT_EQ(contents(preparation.manifest_file().parent_path()), contents(expected.directory)) << workers;
    }
}

TEST_F(BpeCorpus, GoesOnWhereAKilledPreparationStopped) {
    const Manifest expected = prepare(config("bpe:400"), "whole");
    std::size_t rounds = 0;
    std::set<std::string> done;  // no unit is counted, and no tokenizer trained, twice
    for (;; ++rounds) {
        Preparation preparation(config("bpe:400"), directory_.path(), directory_ / "killed");
        for (int i = 0; i < 3 && !preparation.finished(); ++i) {
            const auto task = preparation.next_task();
            ASSERT_TRUE(task);
            const auto kind = task->at("kind").get<std::string>();
            if (kind != "shard") {
                EXPECT_TRUE(done.insert(kind + (kind == "train" ? "" : task->at("unit").dump())).second);
            }
            preparation.complete(task->at("id").get<std::uint64_t>(), run_task(*task));
        }
        if (preparation.finished()) break;
    }
    EXPECT_GT(rounds, 5u);
    EXPECT_EQ(prepare(config("bpe:400"), "killed").digest(), expected.digest());
}

// A word that only held-out documents have is not learned.
TEST_F(BpeCorpus, LearnsNothingFromWhatIsHeldOut) {
    const auto knows = [](const Manifest& manifest, const std::string& word) {
        const auto tokenizer = manifest.load_tokenizer();
        return std::ranges::any_of(tokenizer.bpe()->definition().tokens,
                                   [&](const std::string& token) { return token.find(word) != std::string::npos; });
    };
    std::string lines;
    for (int i = 0; i < 3000; ++i) {
        const std::string text = "abc def " + std::to_string(i);
        const bool held_out = holdout_draw(document_id_of(text + " qqqqqqqq")) < (std::uint64_t{1} << 62);
        lines += nlohmann::json{{"text", held_out ? text + " qqqqqqqq" : text + " wwwwwwww"}}.dump() + "\n";
    }
    directory_.write("d.jsonl", lines);
    DataConfig by_document = config_of("d.jsonl");
    by_document.tokenizer = "bpe:300";
    by_document.unit_bytes = 20'000;
    by_document.holdout = {0.25, HoldoutBy::document};
    const Manifest documents = prepare(by_document);
    EXPECT_FALSE(knows(documents, "qq"));
    EXPECT_TRUE(knows(documents, "wwww"));
    directory_.write("e.txt.gz", gzip(words(90'000, 3) + std::string(10'000, 'Q')));
    DataConfig by_tail = config_of("e.txt.gz");
    by_tail.tokenizer = "bpe:300";
    by_tail.holdout = {0.5, HoldoutBy::tail};
    EXPECT_FALSE(knows(prepare(by_tail), "QQ"));
    by_tail.holdout = {0, HoldoutBy::tail};
    EXPECT_TRUE(knows(prepare(by_tail), "QQ"));
}

TEST_F(BpeCorpus, ATextThatIsCutIntoUnitsIsHeldOutAsAWhole) {
    DataConfig cut = config_of("cut");
    for (int i = 0; i < 8; ++i) {
        directory_.write("cut/" + std::to_string(i) + ".txt", words(200'000, 70 + static_cast<std::uint64_t>(i)) +
                                                                  std::string(4'000, static_cast<char>('A' + i)));
    }
    cut.tokenizer = "bpe:600";
    cut.unit_bytes = 70'000;
    cut.holdout = {0.4, HoldoutBy::document};
    const Manifest manifest = prepare(cut);
    const auto tokenizer = manifest.load_tokenizer();
    const std::string held_out = text_of(manifest, manifest.sources[0].holdout);
    int found = 0;
    for (char letter = 'A'; letter < 'A' + 8; ++letter) {
        const bool is_held_out = held_out.find(std::string(4'000, letter)) != std::string::npos;
        const bool learned = std::ranges::count(tokenizer.bpe()->definition().tokens, std::string(2, letter)) > 0;
        EXPECT_NE(is_held_out, learned) << letter;
        found += is_held_out ? 1 : 0;
    }
    EXPECT_GT(found, 0);
    EXPECT_LT(found, 8);
}

TEST_F(BpeCorpus, TakesATokenizerThatIsGivenAndKeepsIt) {
    const Manifest trained = prepare(config("bpe:500"));
    const std::string file = read_file(trained.directory / "tokenizer.json");
    directory_.write("given/tokenizer.json", file);
    const Manifest manifest = prepare(config("given/tokenizer.json"));
    EXPECT_EQ(manifest.tokenizer, "tokenizer.json");
    EXPECT_EQ(manifest.tokenizer_sha256, trained.tokenizer_sha256);
    EXPECT_EQ(tokens_of(manifest, manifest.sources[2].train), tokens_of(trained, trained.sources[2].train));
    std::filesystem::remove(directory_ / "given/tokenizer.json");
    EXPECT_EQ(Manifest::load(manifest.directory / "manifest.json").load_tokenizer().vocabulary(), 500u);
    directory_.write("given/tokenizer.json", file + "\n");  // another digest is another corpus
    EXPECT_NE(prepare(config("given/tokenizer.json")).directory, manifest.directory);
}

TEST_F(BpeCorpus, RefusesATokenizerThatIsNotTheOneOfTheManifest) {
    const Manifest manifest = prepare(config("bpe:500"));
    const std::string file = read_file(manifest.directory / "tokenizer.json");
    directory_.write("corpora/" + manifest.directory.filename().string() + "/tokenizer.json", file + " ");
    const std::string message = message_of<DataError>([&] { manifest.load_tokenizer(); });
    EXPECT_NE(message.find(manifest.tokenizer_sha256), std::string::npos);
    EXPECT_NE(message.find(sha256(file + " ")), std::string::npos);
}

TEST_F(BpeCorpus, RefusesATokenizerThatChangesBetweenTheTasks) {
    Preparation preparation(config("bpe:400"), directory_.path(), directory_ / "corpora");
    std::optional<nlohmann::json> task = preparation.next_task();
    while (task->at("kind") != "tokenize") {
        preparation.complete(task->at("id").get<std::uint64_t>(), run_task(*task));
        task = preparation.next_task();
    }
    const auto corpus = preparation.manifest_file().parent_path();
    const std::string file = read_file(corpus / "tokenizer.json");
    directory_.write("corpora/" + corpus.filename().string() + "/tokenizer.json", file + " ");
    EXPECT_NE(message_of<DataError>([&] { run_task(*task); }).find(sha256(file)), std::string::npos);
}

TEST_F(BpeCorpus, P18_WritesIdsOfFourBytesWhereTwoAreNotEnough) {
    BpeDefinition definition;
    for (std::size_t byte = 0; byte < 256; ++byte) definition.tokens.emplace_back(1, static_cast<char>(byte));
    definition.tokens.resize(70'001);
    definition.tokens[69'999] = "th";
    definition.merges.emplace_back('t', 'h');
    definition.added.push_back({70'000, "<|endoftext|>", true});
    definition.patterns.emplace_back(kGpt2Pattern);
    directory_.write("wide.json", to_tokenizer_json(definition));
    directory_.write("th.txt", "the thing\n");
    DataConfig wide = config_of("th.txt");
    wide.tokenizer = "wide.json";
    const Manifest manifest = prepare(wide);
    EXPECT_EQ(tokens_of(manifest, manifest.sources[0].train),
              (std::vector<std::int64_t>{69'999, 'e', ' ', 69'999, 'i', 'n', 'g', '\n', 70'000}));
    const Corpus corpus(manifest, {1.0}, 4, 1);
    std::vector<std::int64_t> inputs(8);
    std::vector<std::int64_t> targets(8);
    corpus.read_train({0, 2}, inputs, targets);
    EXPECT_EQ(std::ranges::count(inputs, 69'999), 2);
    EXPECT_EQ(std::ranges::count(targets, 70'000), 1);
}

TEST_F(BpeCorpus, SaysHowManySpecialTokensTheTextSpelt) {
    directory_.write("s.txt", "one <|endoftext|> two <|endoftext|><|endoftext|>");
    const Manifest trained = prepare(config("bpe:300"));
    directory_.write("t.json", read_file(trained.directory / "tokenizer.json"));
    DataConfig special = config_of("s.txt");
    special.tokenizer = "t.json";
    Preparation preparation(special, directory_.path(), directory_ / "special");
    const auto result = run_task(*preparation.next_task());
    EXPECT_EQ(result.at("special_texts"), 3);
}

TEST_F(BpeCorpus, SaysWhenTheTextYieldsTooFewTokens) {
    EXPECT_NE(message_of<DataError>([&] { prepare(config("bpe:100000")); }).find("ask for at most bpe:"),
              std::string::npos);
}

}  // namespace
}  // namespace kiban::data
