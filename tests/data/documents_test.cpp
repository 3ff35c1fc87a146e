// SPDX-License-Identifier: Apache-2.0
#include "data/documents.h"

#include "data/document_id.h"
#include "data/tokenizer.h"
#include "monitoring/error.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

class Collector : public DocumentSink {
  public:
    void begin(const Piece&, std::uint64_t offset) override {
        offsets.push_back(offset);
        documents.emplace_back();
    }
    void add(std::span<const std::byte> text) override {
        documents.back().append(reinterpret_cast<const char*>(text.data()), text.size());
    }
    void end(bool complete) override { completed += complete ? 1 : 0; }

    std::vector<std::uint64_t> offsets;
    std::vector<std::string> documents;
    int completed = 0;
};

Collector read_in_units(const TempDirectory& directory, const std::string& path, std::uint64_t unit_bytes) {
    SourceConfig source;
    source.path = path;
    Collector collector;
    for (const Unit& unit : plan_units(list_inputs(source, directory.path()), source, 0, unit_bytes, 0)) {
        for (const Piece& piece : unit.pieces) read_documents(piece_from_json(to_json(piece)), collector);
    }
    return collector;
}

TEST(Documents, OfJsonlAreTheSameHoweverTheFileIsCut) {
    const TempDirectory directory;
    const std::string text =
        "{\"text\":\"one\"}\n\n{\"id\":7,\"text\":\"t\\u0077o\\n2\"}\r\n   \n{\"text\":\"\"}\n{\"text\":\"\xe5\x9f\xba "
        "three\"}";
    directory.write("a.jsonl", text);
    directory.write("b.jsonl.gz", gzip(text));
    const std::vector<std::string> expected{"one", "two\n2", "", "\xe5\x9f\xba three"};
    const std::vector<std::uint64_t> offsets{0, 16, text.find("{\"text\":\"\"}"), text.rfind('{')};
    for (std::uint64_t unit_bytes = 1; unit_bytes <= text.size() + 1; ++unit_bytes) {
        const Collector collector = read_in_units(directory, "a.jsonl", unit_bytes);
        ASSERT_EQ(collector.documents, expected) << "units of " << unit_bytes << " bytes";
        ASSERT_EQ(collector.offsets, offsets);
    }
    EXPECT_EQ(read_in_units(directory, "b.jsonl.gz", 5).documents, expected);
}

TEST(Documents, OfALargeJsonlFileKeepEveryLine) {
    const TempDirectory directory;
    std::string text;
    std::vector<std::string> expected;
    for (std::size_t i = 0; i < 3000; ++i) {
        expected.push_back(words(i % 7 == 0 ? 5000 : 100, i));
        text += nlohmann::json{{"text", expected.back()}}.dump() + "\n";
    }
    directory.write("a.jsonl", text);
    for (const std::uint64_t unit_bytes : {100'000u, 1'000'003u, 50'000'000u}) {
        EXPECT_TRUE(read_in_units(directory, "a.jsonl", unit_bytes).documents == expected) << unit_bytes;
    }
}

TEST(Documents, OfTextAreItsFilesWhollyOrInRanges) {
    const TempDirectory directory;
    const std::string text = words(5 * kLeafBytes + 123, 1);
    directory.write("t/a.txt", text);
    directory.write("t/b.txt", "b");
    directory.write("t/c.txt.zst", zstd(text));
    const Collector whole = read_in_units(directory, "t", 1u << 30);
    EXPECT_TRUE(whole.documents == (std::vector<std::string>{text, "b", text}));
    const Collector cut = read_in_units(directory, "t", 1);  // rounded up to one leaf
    ASSERT_EQ(cut.documents.size(), 8u);
    EXPECT_EQ(cut.completed, 3);
    std::string joined;
    for (std::size_t i = 0; i < 6; ++i) joined += cut.documents[i];
    EXPECT_TRUE(joined == text);
}

std::string refusal(const TempDirectory& directory, const std::string& content, std::uint64_t unit_bytes = 1u << 20) {
    directory.write("bad.jsonl", content);
    return message_of<DataError>([&] { read_in_units(directory, "bad.jsonl", unit_bytes); });
}

TEST(Documents, RefuseBadJsonlNamingFileAndLine) {
    const TempDirectory directory;
    const std::string good = "{\"text\":\"x\"}\n";
    const std::string file = (directory / "bad.jsonl").string();
    EXPECT_EQ(refusal(directory, good + good + "{\"text\": oops}\n" + good),
              "cannot read '" + file + "' line 3: expected a JSON object, found malformed JSON at its byte 10");
    EXPECT_EQ(refusal(directory, good + good + good + "{\"text\": oops}\n", 5),
              "cannot read '" + file + "' line 4: expected a JSON object, found malformed JSON at its byte 10");
    EXPECT_EQ(refusal(directory, good + "{\"body\":\"x\"}"),
              "cannot read '" + file + "' line 2: expected a field 'text', found none; name it with text_field");
    EXPECT_EQ(refusal(directory, "{\"text\":3}\n"),
              "cannot read '" + file + "' line 1: expected field 'text' to be a string, found number");
    EXPECT_EQ(refusal(directory, good + "\n[1]\n"),
              "cannot read '" + file + "' line 3: expected a JSON object, found array");
    EXPECT_NE(refusal(directory, good + "{\"text\":\"\xff\"}").find("line 2"), std::string::npos);
    EXPECT_EQ(refusal(directory, good + "{\"text\":\"x\",\"y\":" + std::string(1'000'000, '[')),
              "cannot read '" + file + "' line 2: expected at most 64 brackets and braces in one another, found more");
}

TEST(Documents, RefuseALineThatIsTooLongToHold) {
    const TempDirectory directory;
    const std::string message =
        refusal(directory, "{\"text\":\"x\"}\n" + std::string(kRecordBytes + 2'000'000, 'x'), 1u << 30);
    EXPECT_NE(message.find("line 2: expected a line of at most 67108864 bytes"), std::string::npos) << message;
}

TEST(DocumentId, IsTheTextsHashOrThatOfItsLeaves) {
    // XXH3-128 of the empty text, from the algorithm's own test vectors.
    EXPECT_EQ(to_hex(std::vector{document_id_of("")}), "99aa06d3014798d86001c324468d497f");
    const std::string text = words(3 * kLeafBytes + 5, 8);
    std::vector<DocumentId> leaves;
    std::string joined;
    for (std::size_t begin = 0; begin < text.size(); begin += kLeafBytes) {
        leaves.push_back(document_id_of(text.substr(begin, kLeafBytes)));
        joined.append(reinterpret_cast<const char*>(leaves.back().data()), leaves.back().size());
    }
    ASSERT_EQ(leaves.size(), 4u);
    EXPECT_EQ(document_id(leaves), document_id_of(text));
    EXPECT_EQ(document_id_of(joined), document_id_of(text));
    EXPECT_EQ(ids_from_hex(to_hex(leaves)), leaves);
}

TEST(DocumentId, DrawsUniformlyForTheHoldout) {
    int held_out = 0;
    for (int i = 0; i < 20000; ++i)
        held_out += holdout_draw(document_id_of(std::to_string(i))) < (1ULL << 63) / 5 ? 1 : 0;
    EXPECT_NEAR(held_out, 2000, 5 * 43);  // a tenth of 2^64; five standard deviations
}

TEST(Tokenizer, GivesBytesAndTheirText) {
    const Tokenizer tokenizer("bytes");
    EXPECT_EQ(tokenizer.vocabulary(), 257u);
    std::string all;
    for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
    std::vector<std::uint32_t> ids = tokenizer.encode(all + "<|endoftext|>");
    EXPECT_EQ(ids.size(), 256u + 13u);
    for (std::uint32_t byte = 0; byte < 256; ++byte) ASSERT_EQ(ids[byte], byte);
    ids.push_back(tokenizer.end_of_document());
    const std::vector<std::int64_t> wide(ids.begin(), ids.end());
    EXPECT_EQ(tokenizer.decode(wide), all + "<|endoftext|>");
    EXPECT_NE(message_of<DataError>([&] { tokenizer.decode(std::vector<std::int64_t>{257}); }).find("token 257"),
              std::string::npos);
}

TEST(Tokenizer, IsNamedByKindSizeOrFile) {
    EXPECT_EQ(Tokenizer::vocabulary_of("bytes"), 257u);
    EXPECT_EQ(Tokenizer::vocabulary_of("bpe:8192"), 8192u);
    EXPECT_EQ(Tokenizer::vocabulary_of("a/tokenizer.json"), std::nullopt);
    EXPECT_EQ(
        message_of<ConfigError>([] { Tokenizer::check_name("byte"); }),
        "data.tokenizer 'byte' is unknown: expected 'bytes', 'bpe:32768' (trained on the corpus, with so many tokens) "
        "or the path of a tokenizer.json or of a SentencePiece .model");
    for (const char* name : {"bpe:", "bpe:256", "bpe:1048577", "bpe:8192x", "bpe:-3", "bpe:99999999999"}) {
        EXPECT_EQ(message_of<ConfigError>([&] { Tokenizer::check_name(name); }),
                  fmt::format("data.tokenizer '{}': expected 'bpe:' and a number of tokens from 257 to 1048576", name));
    }
}

TEST(UnitNames, SurviveJsonWhateverTheirBytes) {
    for (const std::string name : {"plain", "100%", "\xe5\x9f\xba", "caf\xe9 \xff%41"}) {
        const std::string encoded = encode_name(name);
        EXPECT_NO_THROW(static_cast<void>(nlohmann::json(encoded).dump()));
        EXPECT_EQ(decode_name(encoded), name);
    }
    EXPECT_EQ(encode_name("\xe5\x9f\xba"), "\xe5\x9f\xba");
}

}  // namespace
}  // namespace kiban::data
