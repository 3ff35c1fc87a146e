// SPDX-License-Identifier: Apache-2.0
// A document that is forgotten is not read any more, and nothing else moves.
#include "data/forgotten.h"

#include "data/corpus.h"
#include "data/prepare.h"
#include "monitoring/error.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

std::string line(const std::string& text) { return nlohmann::json{{"text", text}}.dump() + "\n"; }

struct Batch {
    std::vector<std::int64_t> inputs;
    std::vector<std::int64_t> targets;
};

constexpr std::uint32_t kLength = 16;

Batch read_all(const Corpus& corpus, bool holdout) {
    const std::uint64_t rows = holdout ? corpus.holdout_rows() : 2 * corpus.train_rows();
    Batch batch{std::vector<std::int64_t>(rows * kLength), std::vector<std::int64_t>(rows * kLength)};
    if (holdout) {
        corpus.read_holdout({0, rows}, batch.inputs, batch.targets);
    } else {
        corpus.read_train({0, rows}, batch.inputs, batch.targets);
    }
    return batch;
}

// Each document is of one letter, so that every token says whose it is.
Manifest of_letters(const TempDirectory& directory) {
    std::string lines;
    for (char letter = 'a'; letter <= 'z'; ++letter)
        lines += line(std::string(static_cast<std::size_t>(20 + letter % 7 * 9), letter));
    directory.write("a.jsonl", lines);
    DataConfig config = config_of("a.jsonl");
    config.shard_tokens = 100;
    config.holdout = {0.2, HoldoutBy::tail};
    return prepare_here(config, directory.path(), directory / "corpora");
}

std::set<DocumentId> letters_of(const std::string& letters) {
    std::set<DocumentId> ids;
    for (const char letter : letters)
        ids.insert(document_id_of(std::string(static_cast<std::size_t>(20 + letter % 7 * 9), letter)));
    return ids;
}

TEST(Forgotten, DocumentsAreNoTargetsAndNoContextAndNothingElseMoves) {
    const TempDirectory directory;
    const Manifest manifest = of_letters(directory);
    const std::string gone = "bcqz";  // neighbours, one over the border of a shard, one that is held out
    const Corpus before(manifest, {1}, kLength, 3);
    const Corpus after(manifest, {1}, kLength, 3, {}, letters_of(gone));
    EXPECT_EQ(after.train_rows(), before.train_rows());
    std::size_t hidden = 0;
    for (const bool holdout : {false, true}) {
        const Batch all = read_all(before, holdout);
        const Batch left = read_all(after, holdout);
        const auto is_gone = [&](std::int64_t id) {
            return id > 0 && id < 256 && gone.find(static_cast<char>(id)) != std::string::npos;
        };
        for (std::size_t i = 0; i < all.inputs.size(); ++i) {
            // An end of document belongs to the document before it: its input, in the same place of the row.
            const bool target_ends_gone = all.targets[i] == 256 && is_gone(all.inputs[i]);
            ASSERT_EQ(left.inputs[i], is_gone(all.inputs[i]) ? 256 : all.inputs[i]) << i;
            ASSERT_EQ(left.targets[i], is_gone(all.targets[i]) || target_ends_gone ? kMasked : all.targets[i]) << i;
            hidden += is_gone(all.targets[i]) ? 1U : 0U;
        }
    }
    EXPECT_GT(hidden, 100u);
}

TEST(Forgotten, IdentitiesThatTheCorpusHasNotChangeNothing) {
    const TempDirectory directory;
    const Manifest manifest = of_letters(directory);
    const Corpus before(manifest, {1}, kLength, 3);
    const Corpus after(manifest, {1}, kLength, 3, {}, {document_id_of("nobody")});
    EXPECT_EQ(read_all(before, false).targets, read_all(after, false).targets);
}

TEST(Forgotten, IdentitiesThatTheCorpusHasNotAreTold) {
    const TempDirectory directory;
    const Manifest manifest = of_letters(directory);
    std::set<DocumentId> asked = letters_of("aqz");  // z is held out
    EXPECT_TRUE(missing_from(manifest, asked).empty());
    asked.insert(document_id_of("nobody"));
    EXPECT_EQ(missing_from(manifest, asked), std::set<DocumentId>{document_id_of("nobody")});
}

TEST(Forgotten, TheListHoldsOneIdentityALine) {
    const TempDirectory directory;
    const std::array<DocumentId, 2> ids = {document_id_of("a"), document_id_of("b")};
    directory.write("list", "# asked on 3 May\n" + to_hex(std::span(ids).first(1)) + "  # letter 17\r\n\n" +
                                to_hex(std::span(ids).last(1)));
    EXPECT_EQ(read_forgotten(directory / "list"), (std::set<DocumentId>{ids[0], ids[1]}));
    directory.write("list", "\nabc\n");
    EXPECT_NE(message_of<DataError>([&] { read_forgotten(directory / "list"); }).find("line 2: expected a document's"),
              std::string::npos);
    EXPECT_NE(message_of<ConfigError>([&] { read_forgotten(directory / "none"); }).find("data.forget"),
              std::string::npos);
}

}  // namespace
}  // namespace kiban::data
