// SPDX-License-Identifier: Apache-2.0
// Which documents stand at a position, and the way back, against the tokens that training reads.
#include "data/trace.h"

#include <algorithm>
#include <map>
#include <set>

#include "data/prepare.h"
#include "monitoring/error.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

std::string line(const std::string& text) { return nlohmann::json{{"text", text}}.dump() + "\n"; }

std::string id_of(const std::string& text) {
    const std::array<DocumentId, 1> id = {document_id_of(text)};
    return to_hex(id);
}

struct Sources {
    DataConfig config;
    std::map<std::string, std::string> texts;  // by identity
};

Sources two_sources(const TempDirectory& directory) {
    Sources made;
    std::string lines;
    for (std::size_t i = 0; i < 40; ++i) {
        const std::string text = words(20 + i * 17 % 300, i);
        made.texts[id_of(text)] = text;
        lines += line(text);
    }
    directory.write("a.jsonl", lines);
    for (std::size_t i = 0; i < 9; ++i) {
        const std::string text = words(100 + i * 50, 100 + i);
        made.texts[id_of(text)] = text;
        directory.write(fmt::format("b/{}.txt", i), text);
    }
    made.config = config_of("a.jsonl");
    made.config.sources.emplace_back().path = "b";
    made.config.sources[1].weight = 3;
    made.config.unit_bytes = 1500;
    made.config.shard_tokens = 700;
    made.config.holdout = {0.1, HoldoutBy::tail};
    return made;
}

constexpr std::uint32_t kLength = 16;

std::string text_of(const std::vector<std::int64_t>& ids) {
    std::string text;
    for (const std::int64_t id : ids) text.push_back(id == 256 ? '\0' : static_cast<char>(id));
    return text;
}

// The row's tokens: its inputs and the last target, as far as the stream goes.
std::string row_text(const Corpus& corpus, std::uint64_t position) {
    std::vector<std::int64_t> inputs(kLength);
    std::vector<std::int64_t> targets(kLength);
    corpus.read_train({position, 1}, inputs, targets);
    const auto masked = std::ranges::find(targets, kMasked);
    const auto count = static_cast<std::size_t>(masked - targets.begin());
    inputs.resize(count);
    inputs.push_back(targets[count - 1]);
    return text_of(inputs);
}

TEST(Trace, NamesTheDocumentsWhoseTokensARowHolds) {
    const TempDirectory directory;
    const Sources made = two_sources(directory);
    const Manifest manifest = prepare_here(made.config, directory.path(), directory / "corpora");
    EXPECT_GT(manifest.shards.size(), 8u);
    const Corpus corpus(manifest, {1, 3}, kLength, 5);
    CorpusTrace trace(corpus);
    std::size_t several = 0;
    for (std::uint64_t position = 0; position < 2 * corpus.train_rows(); ++position) {
        const TracedRow row = trace.row_at(position);
        std::string text;
        for (const TracedPart& part : row.parts) {
            const Shard shard(manifest.directory / part.shard);
            const std::string piece = text_of(shard.read(part.first, part.tokens));
            const std::string& whole = made.texts.at(part.document);
            ASSERT_NE((whole + '\0').find(piece), std::string::npos);
            const std::string file = row.row.source == 0 ? "a.jsonl" : "b/";
            ASSERT_TRUE(part.file.starts_with(file)) << part.file;
            if (row.row.source == 0) {
                const std::string lines = read_file(directory / "a.jsonl");
                ASSERT_TRUE(lines.substr(part.record).starts_with(line(whole)));
            } else {
                ASSERT_EQ(read_file(directory / part.file), whole);
            }
            text += piece;
        }
        several += row.parts.size() > 1 ? 1U : 0U;
        ASSERT_EQ(text, row_text(corpus, position)) << position;
    }
    EXPECT_GT(several, 20u);
}

TEST(Trace, OfADocumentGivesThePositionsWhoseRowsNameIt) {
    const TempDirectory directory;
    const Sources made = two_sources(directory);
    const Corpus corpus(prepare_here(made.config, directory.path(), directory / "corpora"), {1, 3}, kLength, 5);
    CorpusTrace trace(corpus);
    const std::uint64_t end = 5 * corpus.train_rows() / 2;
    std::map<std::string, std::set<std::uint64_t>> expected;
    for (std::uint64_t position = 0; position < end; ++position) {
        for (const TracedPart& part : trace.row_at(position).parts) expected[part.document].insert(position);
    }
    std::size_t held_out = 0;
    for (const auto& [id, text] : made.texts) {
        std::set<std::uint64_t> positions;
        std::uint64_t tokens = 0;
        for (const TracedDocument& place : trace.find(id)) {
            held_out += place.held_out ? 1U : 0U;
            tokens += place.end - place.begin;
            const auto more = trace.positions_of(place, end);
            positions.insert(more.begin(), more.end());
        }
        EXPECT_EQ(tokens, text.size() + 1) << "over the borders of shards and of the holdout";
        EXPECT_EQ(positions, expected[id]);
    }
    EXPECT_GT(held_out, 2u);
    EXPECT_TRUE(trace.find(std::string(32, '0')).empty());
    EXPECT_NE(message_of<DataError>([&] { trace.find("12"); }).find("expected 32 hex digits"), std::string::npos);
}

// A corpus with a source more is another corpus, whose older sources have their tokens and their order as before.
TEST(Trace, ASourceThatIsAppendedMovesNoRowOfTheOthers) {
    const TempDirectory directory;
    Sources made = two_sources(directory);
    const Corpus after(prepare_here(made.config, directory.path(), directory / "corpora"), {1, 3}, kLength, 5);
    made.config.sources.pop_back();
    const Corpus before(prepare_here(made.config, directory.path(), directory / "corpora"), {1}, kLength, 5);
    EXPECT_EQ(before.manifest().sources[0].id, after.manifest().sources[0].id);
    EXPECT_NE(before.manifest().digest(), after.manifest().digest());
    std::vector<RowRef> rows;
    for (std::uint64_t position = 0; rows.size() < 2 * before.train_rows(); ++position) {
        if (const RowRef row = after.order().at(position); row.source == 0) rows.push_back(row);
    }
    for (std::uint64_t position = 0; position < rows.size(); ++position)
        ASSERT_EQ(rows[position], before.order().at(position)) << position;
}

// Its tokens by position: each document's inputs and the target of the last one.
std::string packed_text(const Corpus& corpus, std::uint64_t position) {
    std::vector<std::int64_t> inputs(kLength);
    std::vector<std::int64_t> targets(kLength);
    std::vector<std::int32_t> positions(kLength);
    corpus.read_train({position, 1}, inputs, targets, positions);
    std::vector<std::int64_t> ids;
    for (std::size_t i = 0; i < kLength && targets[i] != kMasked; ++i) {
        ids.push_back(inputs[i]);
        if (i + 1 == kLength || positions[i + 1] == 0) ids.push_back(targets[i]);
    }
    return text_of(ids);
}

TEST(Trace, OfPackedRowsNamesTheirDocumentsAndTheWayBack) {
    const TempDirectory directory;
    const Sources made = two_sources(directory);
    const Manifest manifest = prepare_here(made.config, directory.path(), directory / "corpora");
    const Corpus corpus(manifest, {1, 3}, kLength, 5, {.packing = Packing::best_fit});
    CorpusTrace trace(corpus);
    const std::uint64_t end = 2 * corpus.train_rows();
    std::map<std::string, std::set<std::uint64_t>> expected;
    std::size_t several = 0;
    for (std::uint64_t position = 0; position < end; ++position) {
        std::string text;
        std::set<std::string> documents;
        for (const TracedPart& part : trace.row_at(position).parts) {
            text += text_of(Shard(manifest.directory / part.shard).read(part.first, part.tokens));
            expected[part.document].insert(position);
            documents.insert(part.document);
        }
        several += documents.size() > 1 ? 1U : 0U;
        ASSERT_EQ(text, packed_text(corpus, position)) << position;
    }
    EXPECT_GT(several, 5u);
    for (const auto& [id, text] : made.texts) {
        std::set<std::uint64_t> positions;
        for (const TracedDocument& place : trace.find(id)) {
            const auto more = trace.positions_of(place, end);
            positions.insert(more.begin(), more.end());
        }
        EXPECT_EQ(positions, expected[id]);
    }
}

}  // namespace
}  // namespace kiban::data
