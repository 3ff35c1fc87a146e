// SPDX-License-Identifier: Apache-2.0
// What a preparation refuses, before it writes anything where that can be known before.
#include "data/prepare.h"
#include "monitoring/error.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

class Refusal : public ::testing::Test {
  protected:
    template <typename E>
    std::string of(const DataConfig& config) {
        return message_of<E>([&] { prepare_here(config, directory_.path(), directory_ / "corpora"); });
    }
    bool wrote_nothing() const { return !std::filesystem::exists(directory_ / "corpora"); }
    bool published_nothing() const {
        for (const auto& [name, content] : contents(directory_ / "corpora")) {
            if (name.find("/staging/unit-") == std::string::npos) return false;
        }
        return true;
    }

    TempDirectory directory_;
};

TEST_F(Refusal, NamesAMissingPath) {
    EXPECT_EQ(of<DataError>(config_of("gone.txt")),
              "cannot find the data source 'gone.txt': there is no '" + (directory_ / "gone.txt").string() + "'");
    EXPECT_TRUE(wrote_nothing());
}

TEST_F(Refusal, NamesAnEmptyCorpus) {
    directory_.write("empty.txt", "");
    EXPECT_EQ(of<DataError>(config_of("empty.txt")),
              "the data source 'empty.txt' is empty: 1 file with no bytes in all");
    EXPECT_TRUE(wrote_nothing());
    directory_.write("blank.jsonl", "\n  \n");
    EXPECT_NE(of<DataError>(config_of("blank.jsonl")).find("'blank.jsonl': it holds no text"), std::string::npos);
    EXPECT_TRUE(published_nothing());
}

TEST_F(Refusal, NamesASourceOfWhichTheHoldoutLeavesNothing) {
    directory_.write("a.txt", "abc");
    DataConfig config = config_of("a.txt");
    config.holdout = {0.9, HoldoutBy::tail};
    EXPECT_NE(of<DataError>(config).find("3 of its 4 tokens are held out"), std::string::npos);
    EXPECT_TRUE(published_nothing());
}

TEST_F(Refusal, NamesAHoldoutWithoutARow) {
    directory_.write("a.txt", "abcdefgh");
    DataConfig config = config_of("a.txt");
    config.holdout = {0.1, HoldoutBy::tail};
    EXPECT_NE(of<DataError>(config).find("cannot hold out 0.1 of the data"), std::string::npos);
    EXPECT_TRUE(published_nothing());
}

TEST_F(Refusal, NamesATokenizerThatIsNotThere) {
    directory_.write("a.txt", "abc");
    DataConfig config = config_of("a.txt");
    config.tokenizer = "bpe:eight";
    EXPECT_NE(of<ConfigError>(config).find("data.tokenizer 'bpe:eight': expected 'bpe:' and a number"),
              std::string::npos);
    config.tokenizer = "none.json";
    EXPECT_NE(of<ConfigError>(config).find("there is no file"), std::string::npos);
    EXPECT_TRUE(wrote_nothing());
}

TEST_F(Refusal, NamesTheKeyOfAValueOutOfRange) {
    directory_.write("a.txt", "abc");
    const auto with = [&](const std::function<void(DataConfig&)>& change) {
        DataConfig config = config_of("a.txt");
        change(config);
        return of<ConfigError>(config);
    };
    EXPECT_EQ(with([](DataConfig& c) { c.holdout.fraction = 1; }),
              "data.holdout.fraction is 1, expected at least 0 and below 1");
    EXPECT_EQ(with([](DataConfig& c) { c.holdout.fraction = -0.1; }),
              "data.holdout.fraction is -0.1, expected at least 0 and below 1");
    EXPECT_EQ(with([](DataConfig& c) { c.sources[0].weight = 0; }),
              "data.sources.0.weight is 0, expected a number above 0");
    EXPECT_EQ(with([](DataConfig& c) { c.sources[0].format = "csv"; }),
              "data.sources.0.format is 'csv', expected 'auto', 'text' or 'jsonl'");
    EXPECT_EQ(with([](DataConfig& c) { c.sources[0].path = ""; }),
              "data.sources.0.path is empty, expected a file, glob or directory");
    EXPECT_EQ(with([](DataConfig& c) { c.sources[0].text_field = ""; }),
              "data.sources.0.text_field is empty, expected a field's name");
    EXPECT_EQ(with([](DataConfig& c) { c.sources.clear(); }),
              "data.sources is empty, expected at least one source of text");
    EXPECT_EQ(with([](DataConfig& c) { c.sequence_length = 0; }),
              "data.sequence_length is 0, expected at least 1 token");
    EXPECT_EQ(with([](DataConfig& c) { c.unit_bytes = 0; }), "data.unit_bytes is 0, expected at least 1 byte");
    EXPECT_EQ(with([](DataConfig& c) { c.shard_tokens = 0; }), "data.shard_tokens is 0, expected at least 1 token");
    EXPECT_TRUE(wrote_nothing());
}

TEST_F(Refusal, OfDamagedCompressedInputPublishesNothing) {
    directory_.write("d/a.txt", words(1000, 1));
    directory_.write("d/b.txt.gz", gzip(words(100'000, 2)).substr(0, 9000));
    EXPECT_NE(of<DataError>(config_of("d")).find("b.txt.gz': its gzip data is damaged or cut off at byte 9000"),
              std::string::npos);
    EXPECT_TRUE(published_nothing());
    directory_.write("e.jsonl.zst", zstd("{\"text\":\"x\"}\n{\"txet\":\"y\"}\n"));
    EXPECT_NE(of<DataError>(config_of("e.jsonl.zst")).find("e.jsonl.zst' line 2: expected a field 'text'"),
              std::string::npos);
    EXPECT_TRUE(published_nothing());
}

TEST_F(Refusal, OfAManifestNamesWhatIsWrongWithIt) {
    directory_.write("a.txt", words(5000, 1));
    const Manifest manifest = prepare_here(config_of("a.txt"), directory_.path(), directory_ / "corpora");
    const auto load = [&] {
        return message_of<DataError>([&] { Manifest::load(manifest.directory / "manifest.json"); });
    };
    const auto with = [&](const std::string& from, const std::string& to) {
        std::string text = manifest.to_json();
        text.replace(text.find(from), from.size(), to);
        directory_.write("changed/manifest.json", text);
        std::filesystem::copy(manifest.directory / "shard-00000.h5", directory_ / "changed/shard-00000.h5",
                              std::filesystem::copy_options::overwrite_existing);
        return message_of<DataError>([&] { Manifest::load(directory_ / "changed/manifest.json"); });
    };
    EXPECT_NE(with("\"version\":1", "\"version\":9").find("format version is 9, this program reads up to 3"),
              std::string::npos);
    EXPECT_NE(with("kiban corpus", "other").find("expected a JSON object of format 'kiban corpus'"), std::string::npos);
    EXPECT_NE(with("[[0,0,5001]]", "[[0,0,5000]]").find("has 5000 tokens in its segments, expected 5001"),
              std::string::npos);
    EXPECT_NE(with("[[0,0,5001]]", "[[1,0,5001]]").find("of shard 1, which does not have them"), std::string::npos);
    EXPECT_NE(with("shard-00000.h5", "../x/shard.h5").find("is not a file beside the manifest"), std::string::npos);
    EXPECT_NE(with("{", "[").find("prepare the corpus again"), std::string::npos);
    EXPECT_NE(message_of<DataError>([&] { Manifest::load(directory_ / "none.json"); }).find("does not exist"),
              std::string::npos);
    std::filesystem::resize_file(manifest.directory / "shard-00000.h5", 5000);
    EXPECT_NE(load().find("shard 'shard-00000.h5' has 5000 bytes, expected "), std::string::npos);
    std::filesystem::remove(manifest.directory / "shard-00000.h5");
    EXPECT_NE(load().find("shard 'shard-00000.h5' cannot be found"), std::string::npos);
    EXPECT_NE(of<DataError>(config_of("a.txt")).find("delete its directory and prepare the corpus again"),
              std::string::npos);
}

}  // namespace
}  // namespace kiban::data
