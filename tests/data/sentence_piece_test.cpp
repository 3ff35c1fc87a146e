// SPDX-License-Identifier: Apache-2.0
// SentencePiece models, trained here with the library's own trainer.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <deque>
#include <random>
#include <unordered_map>

#include "bpe_reference.h"
#include "data/digest.h"
#include "data/prepare.h"
#include "data/privacy/audit.h"
#include "data/shard.h"
#include "data/tokenizer.h"
#include "files.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

using Options = std::unordered_map<std::string, std::string>;

const std::string kJapanese = "基盤モデルを学習する。東京都は日本の首都です。";

class Lines : public sentencepiece::SentenceIterator {
  public:
    bool done() const override { return at_ == 400; }
    void Next() override { make(++at_); }
    const std::string& value() const override { return line_; }
    sentencepiece::util::Status status() const override { return {}; }

  private:
    void make(std::uint64_t seed) { line_ = words(120, seed) + kJapanese; }

    std::uint64_t at_ = 0;
    std::string line_ = words(120, 0) + kJapanese;
};

std::string trained(Options options) {
    options.insert({"vocab_size", "600"});
    options.insert({"hard_vocab_limit", "false"});
    options.insert({"minloglevel", "3"});
    Lines lines;
    std::string model;
    const auto status = sentencepiece::SentencePieceTrainer::Train(options, &lines, &model);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return model;
}

// Keeps every character: what it has no piece for it spells in bytes.
const std::string& lossless() {
    static const std::string model = trained({{"model_type", "bpe"},
                                              {"byte_fallback", "true"},
                                              {"normalization_rule_name", "identity"},
                                              {"remove_extra_whitespaces", "false"},
                                              {"add_dummy_prefix", "false"}});
    return model;
}

const std::string& unigram() {
    static const std::string model = trained({{"model_type", "unigram"}});
    return model;
}

class SentencePieceTest : public testing::Test {
  protected:
    Tokenizer tokenizer(const std::string& model) const {
        directory_.write("a.model", model);
        return Tokenizer::from_file(directory_ / "a.model");
    }

    TempDirectory directory_;
};

std::vector<std::int64_t> wide(const std::vector<std::uint32_t>& ids) { return {ids.begin(), ids.end()}; }

TEST_F(SentencePieceTest, GivesTheIdsOfItsLibrary) {
    for (const std::string& model : {lossless(), unigram()}) {
        const Tokenizer ours = tokenizer(model);
        sentencepiece::SentencePieceProcessor theirs;
        ASSERT_TRUE(theirs.LoadFromSerializedProto(model).ok());
        EXPECT_EQ(ours.name(), "tokenizer.model");
        EXPECT_EQ(ours.sha256(), sha256(model));
        EXPECT_EQ(ours.vocabulary(), static_cast<std::uint32_t>(theirs.GetPieceSize()));
        EXPECT_EQ(ours.end_of_document(), static_cast<std::uint32_t>(theirs.eos_id()));
        EXPECT_EQ(ours.end_text(), "</s>");
        for (const std::string& text : {words(500, 1), kJapanese + words(30, 2), std::string("x")}) {
            const std::vector<int> ids = theirs.EncodeAsIds(text);
            EXPECT_EQ(ours.encode(text), std::vector<std::uint32_t>(ids.begin(), ids.end()));
            EXPECT_EQ(ours.decode(wide(ours.encode(text))), theirs.DecodeIds(ids));
        }
    }
}

TEST_F(SentencePieceTest, GivesTextBackWhereTheModelKeepsIt) {
    const Tokenizer ours = tokenizer(lossless());
    std::mt19937_64 random(1);
    for (int i = 0; i < 500; ++i) {
        const std::string text = random_text(random, 1 + random() % 40, 0);
        if (text.find('\0') != std::string::npos || text.find("\u2581") != std::string::npos) continue;
        ASSERT_EQ(ours.decode(wide(ours.encode(text))), text);
    }
    // Documents are decoded one by one: the end of one says nothing.
    std::vector<std::int64_t> two = wide(ours.encode(kJapanese));
    two.push_back(ours.end_of_document());
    for (const std::uint32_t id : ours.encode("two words")) two.push_back(id);
    EXPECT_EQ(ours.decode(two), kJapanese + "two words");
}

TEST_F(SentencePieceTest, P26_TextNeverMakesAControlPiece) {
    const Tokenizer ours = tokenizer(unigram());
    const std::string text = "a</s>b<s>c</s>";
    DocumentEncoder encoder(ours);
    std::vector<std::uint32_t> ids;
    const auto give = [&](std::span<const std::uint32_t> more) { ids.insert(ids.end(), more.begin(), more.end()); };
    encoder.add(std::as_bytes(std::span(text)), give);
    encoder.end(give);
    EXPECT_EQ(std::ranges::count(ids, ours.end_of_document()), 0);
    EXPECT_EQ(encoder.special_texts(), 3u);
}

TEST_F(SentencePieceTest, RefusesWhatIsNoModel) {
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, lossless().size() / 2, lossless().size() - 1}) {
        EXPECT_NE(message_of<DataError>([&] { tokenizer(lossless().substr(0, bytes)); }).find("a.model'"),
                  std::string::npos)
            << bytes;
    }
    EXPECT_NE(message_of<DataError>([&] { tokenizer("{\"model\": 1}"); }).find("it is no SentencePiece model"),
              std::string::npos);
    EXPECT_NE(message_of<DataError>([&] {
                  tokenizer(trained({{"model_type", "unigram"}, {"eos_id", "-1"}}));
              }).find("it has no piece that ends a document, expected '</s>'"),
              std::string::npos);
    EXPECT_NE(message_of<ConfigError>([&] { Tokenizer::from_file(directory_ / "none.model"); }).find("no file"),
              std::string::npos);
}

// A corpus in units and shards, its tasks done in turn or in any order by several that forget some.
class SentencePieceCorpus : public SentencePieceTest {
  protected:
    SentencePieceCorpus() {
        directory_.write("given/my.model", lossless());
        directory_.write("a.txt", words(100'000, 1));
        std::string lines;
        for (std::uint64_t i = 0; i < 200; ++i)
            lines += nlohmann::json{{"text", kJapanese + words(200, 10 + i)}}.dump() + "\n";
        directory_.write("c.jsonl", lines);
    }

    DataConfig config() const {
        DataConfig config = config_of("a.txt");
        config.sources.emplace_back().path = "c.jsonl";
        config.tokenizer = "given/my.model";
        config.unit_bytes = 20'000;
        config.shard_tokens = 10'000;
        return config;
    }
};

TEST_F(SentencePieceCorpus, KeepsItsModelAndDecodesToItsText) {
    const Manifest manifest = prepare_here(config(), directory_.path(), directory_ / "corpora");
    EXPECT_EQ(manifest.tokenizer, "tokenizer.model");
    EXPECT_EQ(manifest.tokenizer_sha256, sha256(lossless()));
    EXPECT_EQ(read_file(manifest.directory / "tokenizer.model"), lossless());
    std::filesystem::remove_all(directory_ / "given");
    const Tokenizer kept = Manifest::load(manifest.directory / "manifest.json").load_tokenizer();
    EXPECT_EQ(kept.decode(tokens_of(manifest, manifest.sources[0].train)), words(100'000, 1));
    std::string expected;
    for (std::uint64_t i = 0; i < 200; ++i) expected += kJapanese + words(200, 10 + i);
    EXPECT_EQ(kept.decode(tokens_of(manifest, manifest.sources[1].train)), expected);
    flip_byte(manifest.directory / "tokenizer.model", 40);
    EXPECT_THROW(manifest.load_tokenizer(), DataError);
}

// White space alone has no piece: such a document is none, and its neighbours keep their places.
TEST_F(SentencePieceCorpus, LeavesOutNearDuplicatesBesideDocumentsWithoutTokens) {
    const std::string first = words(900, 1);
    const std::string second = words(900, 2);
    const std::string third = words(900, 3);
    std::string lines;
    for (const std::string& text : {first, std::string("   "), std::string(" "), second, second + " again.", third})
        lines += nlohmann::json{{"text", text}}.dump() + "\n";
    directory_.write("n.jsonl", lines);
    directory_.write("plain.model", trained({{"model_type", "unigram"}}));
    DataConfig config = config_of("n.jsonl");
    config.tokenizer = "plain.model";
    config.clean.deduplicate = "near";
    const Manifest manifest = prepare_here(config, directory_.path(), directory_ / "corpora");
    EXPECT_EQ(manifest.sources[0].cleaned.dropped.at("near_duplicate"), 1u);
    EXPECT_EQ(manifest.sources[0].documents, 3u);
    const Tokenizer kept = manifest.load_tokenizer();
    std::vector<std::int64_t> expected;
    for (const std::string& text : {first, second, third}) {
        for (const std::uint32_t id : kept.encode(text)) expected.push_back(id);
        expected.push_back(kept.end_of_document());
    }
    EXPECT_EQ(tokens_of(manifest, manifest.sources[0].train), expected);
}

TEST_F(SentencePieceCorpus, PassesItsAudit) {
    directory_.write("m.jsonl", nlohmann::json{{"text", "mail bob@example.org"}}.dump() + "\n");
    DataConfig config = config_of("m.jsonl");
    config.tokenizer = "given/my.model";
    config.clean.anonymise.all = "redact";
    const Manifest manifest = prepare_here(config, directory_.path(), directory_ / "corpora");
    const AuditReport report = audit_corpus(manifest);
    EXPECT_EQ(report.documents, 1u);
    EXPECT_TRUE(report.residuals.empty());
    flip_byte(manifest.directory / "tokenizer.model", 40);
    EXPECT_NE(message_of<DataError>([&] { audit_corpus(manifest); }).find("tokenizer.model' was changed"),
              std::string::npos);
}

TEST_F(SentencePieceCorpus, IsTheSameForAnyOrderOfTasks) {
    const auto expected = contents(prepare_here(config(), directory_.path(), directory_ / "one").directory);
    std::mt19937_64 random(5);
    Preparation preparation(config(), directory_.path(), directory_ / "many");
    std::deque<nlohmann::json> taken;
    while (!preparation.finished()) {
        while (const auto task = preparation.next_task()) taken.push_back(*task);
        ASSERT_FALSE(taken.empty());
        std::swap(taken.front(), taken[random() % taken.size()]);
        const nlohmann::json task = taken.front();
        taken.pop_front();
        if (random() % 4 == 0)
            preparation.give_back(task.at("id").get<std::uint64_t>());
        else
            preparation.complete(task.at("id").get<std::uint64_t>(), run_task(task));
    }
    EXPECT_EQ(contents(preparation.manifest_file().parent_path()), expected);
}

}  // namespace
}  // namespace kiban::data
