// SPDX-License-Identifier: Apache-2.0
#include "data/packing.h"

#include <nlohmann/json.hpp>

#include <map>
#include <random>

#include "data/corpus.h"
#include "data/prepare.h"
#include "data/shard.h"
#include "monitoring/error.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

using Piece = std::pair<std::uint64_t, std::uint32_t>;  // first token, targets

// By the definition: the open rows are looked through for each piece.
std::vector<std::vector<Piece>> textbook(const std::vector<std::uint64_t>& lengths, std::uint32_t row_length) {
    std::vector<std::vector<Piece>> rows;
    std::vector<Piece> rests;
    std::uint64_t first = 0;
    for (const std::uint64_t length : lengths) {
        std::uint64_t at = first;
        std::uint64_t left = length - 1;
        for (; left >= row_length; left -= row_length, at += row_length) rows.push_back({{at, row_length}});
        if (left > 0) rests.emplace_back(at, static_cast<std::uint32_t>(left));
        first += length;
    }
    std::ranges::stable_sort(rests, std::greater<>(), &Piece::second);
    struct Open {
        std::size_t row;
        std::uint32_t room;
        std::size_t put;  // when it was last put into
    };
    std::vector<Open> open;
    for (std::size_t i = 0; i < rests.size(); ++i) {
        Open* best = nullptr;
        for (Open& row : open) {
            if (row.room < rests[i].second) continue;
            if (best == nullptr || row.room < best->room || (row.room == best->room && row.put > best->put))
                best = &row;
        }
        if (best == nullptr) {
            rows.emplace_back();
            best = &open.emplace_back(Open{rows.size() - 1, row_length, i});
        }
        rows[best->row].push_back(rests[i]);
        best->room -= rests[i].second;
        best->put = i;
    }
    return rows;
}

PackedRows packed(const std::vector<std::uint64_t>& lengths, std::uint32_t row_length) {
    PackedRows rows(row_length);
    std::uint64_t first = 0;
    for (const std::uint64_t length : lengths) {
        rows.add_document(first, length);
        first += length;
    }
    rows.finish();
    return rows;
}

TEST(PackedRows, AreThoseOfTheTextbook) {
    std::mt19937_64 random(1);
    for (const std::uint32_t row_length : {1u, 2u, 7u, 63u, 64u, 200u}) {
        for (int round = 0; round < 20; ++round) {
            std::vector<std::uint64_t> lengths;
            const std::uint64_t longest = round % 2 == 0 ? 5 + row_length / 3 : 5 + 3 * row_length;
            for (std::uint64_t i = random() % 300; i > 0; --i) lengths.push_back(1 + random() % longest);
            const PackedRows rows = packed(lengths, row_length);
            std::vector<std::vector<Piece>> found;
            for (std::uint64_t row = 0; row < rows.rows(); ++row) {
                auto& pieces = found.emplace_back();
                for (const PackedPiece& piece : rows.row(row)) pieces.emplace_back(piece.first, piece.targets);
            }
            ASSERT_EQ(found, textbook(lengths, row_length)) << "rows of " << row_length << ", round " << round;
        }
    }
}

TEST(PackedRows, OfManyDocumentsHaveHardlyAnyPadding) {
    std::mt19937_64 random(2);
    std::lognormal_distribution<double> length(6, 1);
    std::vector<std::uint64_t> lengths;
    for (int i = 0; i < 100'000; ++i) lengths.push_back(2 + static_cast<std::uint64_t>(length(random)));
    const PackedRows rows = packed(lengths, 2048);
    EXPECT_LT(static_cast<double>(rows.rows() * 2048), 1.001 * static_cast<double>(rows.targets()));
}

TEST(PackedRows, OfDocumentsThatPredictNothingAreNone) {
    EXPECT_EQ(packed({}, 8).rows(), 0u);
    EXPECT_EQ(packed({1, 1}, 8).rows(), 0u);
    EXPECT_EQ(packed({2}, 8).rows(), 1u);
}

constexpr std::uint32_t kLength = 48;

// JSONL documents of all lengths, in shards so short that many run over a border.
class DocumentsTest : public ::testing::Test {
  protected:
    DocumentsTest() {
        std::mt19937_64 random(3);
        std::string lines;
        for (int i = 0; i < 400; ++i) {
            documents_.push_back(words(1 + random() % (i % 10 == 0 ? 400 : 60), random()));
            lines += nlohmann::json{{"text", documents_.back()}}.dump() + "\n";
        }
        directory_.write("a.jsonl", lines);
    }

    Manifest prepared(HoldoutConfig holdout = {0, HoldoutBy::tail}) const {
        DataConfig config = config_of("a.jsonl");
        config.holdout = holdout;
        config.shard_tokens = 501;
        return prepare_here(config, directory_.path(), directory_ / "corpora");
    }

    TempDirectory directory_;
    std::vector<std::string> documents_;
};

struct Rows {
    Rows(const Corpus& corpus, bool held_out) : count(held_out ? corpus.holdout_rows() : corpus.train_rows()) {
        inputs.resize(count * kLength);
        targets.resize(count * kLength);
        positions.assign(count * kLength, -1);
        if (held_out)
            corpus.read_holdout({0, count}, inputs, targets, positions);
        else
            corpus.read_train({0, count}, inputs, targets, positions);
    }
    std::uint64_t count;
    std::vector<std::int64_t> inputs, targets;
    std::vector<std::int32_t> positions;
};

TEST_F(DocumentsTest, ConcatenatedSayWhereTheyBegin) {
    const Manifest manifest = prepared();
    ASSERT_GT(manifest.shards.size(), 20u);
    const std::vector<std::int64_t> ids = ids_of(documents_);
    const Corpus corpus(manifest, {1}, kLength, 1);
    const Corpus apart(manifest, {1}, kLength, 1, {Packing::concat, true});
    const Rows rows(corpus, false);
    const Rows masked(apart, false);
    EXPECT_EQ(rows.inputs, masked.inputs);
    EXPECT_EQ(rows.positions, masked.positions);
    for (std::size_t i = 0; i < rows.inputs.size(); ++i) {
        const std::uint64_t token = corpus.order().at(i / kLength).row * kLength + i % kLength;
        const bool there = token + 1 < ids.size();
        const bool begins = i % kLength == 0 || (there && ids[token - 1] == 256) || token + 1 == ids.size();
        ASSERT_EQ(rows.positions[i], begins ? 0 : rows.positions[i - 1] + 1) << "token " << token;
        ASSERT_EQ(rows.inputs[i], there ? ids[token] : 0);
        ASSERT_EQ(rows.targets[i], there ? ids[token + 1] : kMasked);
        ASSERT_EQ(masked.targets[i], there && ids[token] != 256 ? ids[token + 1] : kMasked);
    }
}

// Rows of packed documents, cut back into the pieces that the positions tell of.
std::map<std::vector<std::int64_t>, int> pieces_of(const Rows& rows) {
    std::map<std::vector<std::int64_t>, int> pieces;
    for (std::size_t i = 0; i < rows.inputs.size();) {
        std::vector<std::int64_t> piece{rows.inputs[i]};
        const bool padding = rows.targets[i] == kMasked;
        do {
            piece.push_back(rows.targets[i]);
            EXPECT_EQ(rows.targets[i] == kMasked, padding);
            EXPECT_EQ(rows.inputs[i], padding ? 0 : piece[piece.size() - 2]);
            EXPECT_EQ(rows.positions[i], static_cast<std::int32_t>(piece.size()) - 2);
        } while (++i % kLength != 0 && rows.positions[i] != 0);
        if (!padding) ++pieces[piece];
    }
    return pieces;
}

TEST_F(DocumentsTest, PackedStandInRowsAsAWholeOrFillThemWithPartsOfTheirLength) {
    std::map<std::vector<std::int64_t>, int> expected;
    for (const std::string& document : documents_) {
        const std::vector<std::int64_t> ids = ids_of({document});
        for (std::size_t first = 0; first + 1 < ids.size(); first += kLength) {
            const std::size_t end = std::min(ids.size(), first + kLength + 1);
            ++expected[{ids.begin() + static_cast<std::ptrdiff_t>(first),
                        ids.begin() + static_cast<std::ptrdiff_t>(end)}];
        }
    }
    const Corpus corpus(prepared(), {1}, kLength, 1, {Packing::best_fit, false});
    EXPECT_EQ(pieces_of(Rows(corpus, false)), expected);
    EXPECT_EQ(corpus.order().at(corpus.train_rows()).epoch, 1u);
}

TEST_F(DocumentsTest, OfEitherSplitAreNotMixedWhenTheyArePacked) {
    for (const HoldoutBy by : {HoldoutBy::tail, HoldoutBy::document}) {
        const Manifest manifest = prepared({0.2, by});
        const Corpus corpus(manifest, {1}, kLength, 1, {Packing::best_fit, true});
        for (const bool held_out : {false, true}) {
            const ManifestSource& source = manifest.sources[0];
            const auto ids = tokens_of(manifest, held_out ? source.holdout : source.train);
            std::int64_t targets = std::ssize(ids) - 1;  // less one for every border inside
            for (std::size_t i = 0; i + 1 < ids.size(); ++i) targets -= ids[i] == 256 ? 1 : 0;
            const Rows rows(corpus, held_out);
            EXPECT_EQ(std::ssize(rows.targets) - std::ranges::count(rows.targets, kMasked), targets);
            for (const auto& [piece, times] : pieces_of(rows))
                ASSERT_NE(std::ranges::search(ids, piece).size(), 0u) << "a piece that is not of this split";
        }
    }
}

TEST_F(DocumentsTest, WhoseTableIsDamagedAreRefusedByShardWhenItIsUsed) {
    const Manifest manifest = prepared();
    const auto file = manifest.directory / "shard-00003.h5";
    const ShardDocuments documents = Shard(file).documents();
    ASSERT_GT(documents.size(), 4u);
    std::string table;  // the starts of documents 1 and 2 as bytes of the file
    for (const std::uint64_t start : {documents.offsets[1], documents.offsets[2]})
        table.append(reinterpret_cast<const char*>(&start), sizeof(start));
    const std::size_t at = read_file(file).find(table);
    ASSERT_NE(at, std::string::npos);
    flip_byte(file, at + 14);
    const std::string expected = "shard-00003.h5' is damaged in its table of documents";
    EXPECT_NE(message_of<DataError>([&] {
                  Corpus(manifest, {1}, kLength, 1, {Packing::best_fit, false});
              }).find(expected),
              std::string::npos);
}

}  // namespace
}  // namespace kiban::data
