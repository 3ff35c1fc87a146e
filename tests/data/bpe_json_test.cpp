// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "bpe_checks.h"
#include "bpe_reference.h"
#include "data/bpe/definition.h"
#include "data/tokenizer.h"
#include "files.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

using nlohmann::json;

// A tokenizer.json as the ecosystem writes GPT-2's, with three merges; ids in GPT-2's order of characters.
json gpt2_like() {
    json vocabulary = json::object();
    std::vector<std::string> characters;
    for (int byte = 0; byte < 256; ++byte) characters.push_back(to_byte_level(std::string(1, static_cast<char>(byte))));
    std::ranges::sort(characters);
    for (const std::string& character : characters) vocabulary[character] = vocabulary.size();
    for (const char* token : {"\u0120t", "he", "\u0120the", "<|endoftext|>"}) vocabulary[token] = vocabulary.size();
    return {{"version", "1.0"},
            {"truncation", nullptr},
            {"padding", nullptr},
            {"added_tokens",
             {{{"id", 259},
               {"content", "<|endoftext|>"},
               {"single_word", false},
               {"lstrip", false},
               {"rstrip", false},
               {"normalized", true},
               {"special", true}}}},
            {"normalizer", nullptr},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}}},
            {"post_processor", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", false}}},
            {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}}},
            {"model",
             {{"dropout", nullptr},
              {"unk_token", ""},
              {"continuing_subword_prefix", ""},
              {"end_of_word_suffix", ""},
              {"fuse_unk", false},
              {"vocab", vocabulary},
              {"merges", {"\u0120 t", "h e", "\u0120t he"}}}}};
}

BpeDefinition parse(const json& file) { return parse_tokenizer_json(file.dump(), "t.json"); }

template <typename E>
std::string refusal(const std::function<void(json&)>& change) {
    json file = gpt2_like();
    change(file);
    return message_of<E>([&] { parse(file); });
}

TEST(ByteLevel, IsGpt2sMapOfBytesToPrintableCharacters) {
    EXPECT_EQ(to_byte_level(" a\n\x7F\xAD\xFF"), "\u0120a\u010A\u0121\u0143\u00FF");
    std::string bytes;
    for (int byte = 0; byte < 256; ++byte) {
        ASSERT_TRUE(from_byte_level(to_byte_level(std::string(1, static_cast<char>(byte))), bytes));
        EXPECT_EQ(bytes, std::string(1, static_cast<char>(byte)));
    }
    EXPECT_FALSE(from_byte_level("a b", bytes));
}

TEST(TokenizerJson, IsReadAsTheEcosystemWritesIt) {
    const BpeDefinition definition = parse(gpt2_like());
    EXPECT_EQ(definition.vocabulary(), 260u);
    EXPECT_EQ(definition.tokens[0], "!");  // the first of the printable characters
    EXPECT_EQ(definition.tokens[258], " the");
    EXPECT_EQ(definition.merges.size(), 3u);
    EXPECT_EQ(definition.patterns, (std::vector<std::string>{kGpt2Pattern}));
    EXPECT_TRUE(definition.tokens[259].empty());
    EXPECT_EQ(definition.added.at(0).text, "<|endoftext|>");
}

TEST(TokenizerJson, MergesMayBeTextsOrPairs) {
    json file = gpt2_like();
    file["model"]["merges"] =
        json::array({json::array({"\u0120", "t"}), json::array({"h", "e"}), json::array({"\u0120t", "he"})});
    EXPECT_EQ(parse(file).merges, parse(gpt2_like()).merges);
}

TEST(TokenizerJson, MakesATokenizerThatEncodesAndEndsDocuments) {
    const TempDirectory directory;
    directory.write("tokenizer.json", gpt2_like().dump());
    const Tokenizer tokenizer = Tokenizer::from_file(directory / "tokenizer.json");
    EXPECT_EQ(tokenizer.vocabulary(), 260u);
    EXPECT_EQ(tokenizer.end_of_document(), 259u);
    const auto ids = tokenizer.encode("the the");
    EXPECT_EQ(ids.size(), 3u);  // t, he, " the"
    EXPECT_EQ(ids.back(), 258u);
    std::vector<std::int64_t> wide(ids.begin(), ids.end());
    wide.push_back(259);
    EXPECT_EQ(tokenizer.decode(wide), "the the");
    EXPECT_THROW(tokenizer.decode(std::vector<std::int64_t>{260}), DataError);
    EXPECT_THROW(tokenizer.decode(std::vector<std::int64_t>{-1}), DataError);
}

TEST(TokenizerJson, OfLlama3sKindIsReadWithItsSplitAndIgnoredMerges) {
    json file = gpt2_like();
    file["model"]["ignore_merges"] = true;
    file["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"}, {"pattern", {{"Regex", kLlama3Pattern}}}, {"behavior", "Isolated"}, {"invert", false}},
          {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}}}}};
    file["post_processor"] = {{"type", "Sequence"},
                              {"processors", {{{"type", "ByteLevel"}}, {{"type", "TemplateProcessing"}}}}};
    EXPECT_TRUE(parse(file).ignore_merges);
    EXPECT_EQ(parse(file).patterns, (std::vector<std::string>{kLlama3Pattern}));
    file["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed";
    file["pre_tokenizer"]["pretokenizers"][0]["invert"] = true;
    EXPECT_EQ(parse(file).patterns, (std::vector<std::string>{kLlama3Pattern}));
}

TEST(TokenizerJson, IsWrittenSoThatItIsReadAsTheSame) {
    std::mt19937_64 random(13);
    for (const char* pattern : all_patterns()) {
        BpeDefinition definition = random_definition(random, 100, pattern);
        definition.ignore_merges = random() % 2 == 0;
        definition.added.push_back({400, "<|x\"\\\n漢|>", false});
        definition.tokens.resize(401);
        const std::string text = to_tokenizer_json(definition);
        const BpeDefinition read = parse_tokenizer_json(text, "t.json");
        EXPECT_EQ(read.tokens, definition.tokens);
        EXPECT_EQ(read.merges, definition.merges);
        EXPECT_EQ(read.patterns, definition.patterns);
        EXPECT_EQ(read.ignore_merges, definition.ignore_merges);
        EXPECT_EQ(to_tokenizer_json(read), text);
    }
}

TEST(TokenizerJson, WhatIsNotSupportedIsRefusedByName) {
    const auto of = [](const std::function<void(json&)>& change) { return refusal<ConfigError>(change); };
    const std::string head = "cannot use tokenizer 't.json': ";
    EXPECT_EQ(of([](json& f) {
                  f["normalizer"] = {{"type", "NFC"}};
              }),
              head + "its normalizer \"NFC\" is not supported: text is encoded as it is");
    EXPECT_EQ(of([](json& f) { f["model"]["type"] = "Unigram"; }),
              head + "its model is of type \"Unigram\", expected \"BPE\"");
    EXPECT_EQ(of([](json& f) { f["model"]["dropout"] = 0.1; }), head + "its model has a dropout of 0.1");
    EXPECT_EQ(of([](json& f) { f["model"]["byte_fallback"] = true; }),
              head + "its model has byte_fallback, which SentencePiece's have");
    EXPECT_EQ(of([](json& f) { f["model"]["end_of_word_suffix"] = "</w>"; }),
              head + "its model has a end_of_word_suffix: \"</w>\"");
    EXPECT_EQ(of([](json& f) { f["pre_tokenizer"]["add_prefix_space"] = true; }),
              head + "its ByteLevel adds a prefix space, which changes the text");
    EXPECT_EQ(of([](json& f) {
                  f["pre_tokenizer"] = {{"type", "Metaspace"}};
              }),
              head + "its pre_tokenizer 'Metaspace' is not supported");
    EXPECT_EQ(of([](json& f) { f["pre_tokenizer"] = nullptr; }),
              head + "it has no pre_tokenizer: expected a 'ByteLevel' one");
    EXPECT_EQ(of([](json& f) { f["decoder"]["type"] = "Fuse"; }),
              head + "its decoder 'Fuse' is not supported, expected 'ByteLevel'");
    EXPECT_EQ(of([](json& f) { f["post_processor"]["type"] = "BertProcessing"; }),
              head + "its post_processor 'BertProcessing' is not supported");
    EXPECT_EQ(of([](json& f) { f["added_tokens"][0]["lstrip"] = true; }),
              head + "its added token '<|endoftext|>' has lstrip");
    EXPECT_EQ(of([](json& f) {
                  f["model"]["vocab"].erase("\u0120");
                  f["model"]["merges"] = json::array();
              }),
              head + "it has no token for byte 0x20");
    EXPECT_EQ(of([](json& f) { f["model"]["vocab"]["\u2581a"] = 260; }),
              head + "its token '\u2581a' is not written in byte-level characters");
}

TEST(TokenizerJson, WhatContradictsItselfIsRefused) {
    const auto of = [](const std::function<void(json&)>& change) { return refusal<DataError>(change); };
    const auto says = [](const std::string& message, const std::string& part) {
        EXPECT_NE(message.find(part), std::string::npos) << message;
    };
    says(of([](json& f) { f["model"]["merges"].push_back("q zz"); }), "merge 3 (\"q zz\") needs a token");
    says(of([](json& f) { f["model"]["merges"].push_back("h e"); }), "merge 3 (\"h e\") is there twice");
    says(of([](json& f) { f["model"]["merges"].push_back("h"); }), "expected \"a b\" or [\"a\", \"b\"]");
    says(of([](json& f) { f["model"]["vocab"]["zz"] = 5; }), "both have the id 5");
    says(of([](json& f) { f["model"]["vocab"]["zz"] = -5; }), "the id of token 'zz' is -5");
    says(of([](json& f) { f["model"]["vocab"]["zz"] = 1u << 20; }), "expected a number below 1048576");
    says(of([](json& f) { f["added_tokens"][0]["id"] = 3; }), "'<|endoftext|>'");
    says(of([](json& f) { f.erase("model"); }), "no object 'model'");
    says(message_of<DataError>([] { parse_tokenizer_json("{\"model\":", "t.json"); }), "t.json");
    says(message_of<DataError>([] { parse_tokenizer_json(std::string(1u << 20, '['), "t.json"); }), "nests deeper");
}

TEST(TokenizerJson, WithoutAnEndOfDocumentIsRefused) {
    const TempDirectory directory;
    json file = gpt2_like();
    file["added_tokens"] = json::array();
    directory.write("tokenizer.json", file.dump());
    EXPECT_NE(message_of<DataError>([&] {
                  Tokenizer::from_file(directory / "tokenizer.json");
              }).find("no special token that ends a document, expected one of <|endoftext|>"),
              std::string::npos);
}

TEST(TokenizerJson, ADamagedFileIsRefusedOrStillRight) { read_damaged_tokenizers(5000, 1); }

}  // namespace
}  // namespace kiban::data
