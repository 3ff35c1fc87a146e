// SPDX-License-Identifier: Apache-2.0
#include "data/corpus.h"

#include <atomic>
#include <random>
#include <set>
#include <thread>

#include "data/digest.h"
#include "data/holdout_bytes.h"
#include "data/prepare.h"
#include "data/shard.h"
#include "monitoring/error.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

constexpr std::uint32_t kLength = 64;

// Two sources of several shards each, whose last rows are partial.
class CorpusTest : public ::testing::Test {
  protected:
    CorpusTest() {
        directory_.write("a.txt", words(300'001, 1));
        directory_.write("b.txt", words(40'017, 2));
        DataConfig config = config_of("a.txt");
        config.sources.emplace_back().path = "b.txt";
        config.holdout = {0.1, HoldoutBy::tail};
        config.shard_tokens = 70'001;
        manifest_ = prepare_here(config, directory_.path(), directory_ / "corpora");
    }

    Corpus open(std::uint64_t seed = 1337) const { return Corpus(manifest_, {3, 1}, kLength, seed); }

    TempDirectory directory_;
    Manifest manifest_;
};

struct Rows {
    explicit Rows(std::uint64_t count) : inputs(count * kLength), targets(count * kLength) {}
    std::vector<std::int64_t> inputs;
    std::vector<std::int64_t> targets;
};

// Row k of a stream of ids, by the definition.
void expect_row(const std::vector<std::int64_t>& ids, std::uint64_t row, const Rows& rows, std::size_t index) {
    for (std::size_t t = 0; t < kLength; ++t) {
        const std::size_t position = row * kLength + t;
        const bool there = position + 1 < ids.size();
        ASSERT_EQ(rows.inputs[index * kLength + t], there ? ids[position] : 0) << "row " << row << " token " << t;
        ASSERT_EQ(rows.targets[index * kLength + t], there ? ids[position + 1] : kMasked)
            << "row " << row << " token " << t;
    }
}

TEST_F(CorpusTest, ReadsTheRowsThatTheOrderNames) {
    const Corpus corpus = open();
    const std::vector<std::vector<std::int64_t>> ids{tokens_of(manifest_, manifest_.sources[0].train),
                                                     tokens_of(manifest_, manifest_.sources[1].train)};
    EXPECT_EQ(corpus.train_rows(),
              (ids[0].size() - 1 + kLength - 1) / kLength + (ids[1].size() - 1 + kLength - 1) / kLength);
    EXPECT_EQ(corpus.vocabulary(), 257u);
    Rows rows(2 * corpus.train_rows());
    corpus.read_train({5, 2 * corpus.train_rows()}, rows.inputs, rows.targets);
    std::set<std::pair<std::uint32_t, std::uint64_t>> seen;
    for (std::uint64_t i = 0; i < 2 * corpus.train_rows(); ++i) {
        const RowRef row = corpus.order().at(5 + i);
        expect_row(ids[row.source], row.row, rows, i);
        seen.insert({row.source, row.row});
    }
    EXPECT_EQ(seen.size(), corpus.train_rows());
}

TEST_F(CorpusTest, ReadsTheHoldoutOnceInOrder) {
    const Corpus corpus = open();
    Rows rows(corpus.holdout_rows());
    for (std::uint64_t first = 0; first < corpus.holdout_rows(); first += 7) {
        const std::uint64_t count = std::min<std::uint64_t>(7, corpus.holdout_rows() - first);
        corpus.read_holdout({first, count}, std::span(rows.inputs).subspan(first * kLength, count * kLength),
                            std::span(rows.targets).subspan(first * kLength, count * kLength));
    }
    std::uint64_t index = 0;
    std::uint64_t targets = 0;
    for (const ManifestSource& source : manifest_.sources) {
        const auto ids = tokens_of(manifest_, source.holdout);
        targets += ids.size() - 1;
        for (std::uint64_t row = 0; row * kLength + 1 < ids.size(); ++row) expect_row(ids, row, rows, index++);
    }
    EXPECT_EQ(index, corpus.holdout_rows());
    EXPECT_EQ(std::ranges::count_if(rows.targets, [](std::int64_t target) { return target != kMasked; }),
              static_cast<std::ptrdiff_t>(targets));
}

TEST_F(CorpusTest, BytesOfAHeldOutTokenCountTextAndNoEndsOfDocuments) {
    double bytes = 0;
    double tokens = 0;
    for (const ManifestSource& source : manifest_.sources) {
        const auto ids = tokens_of(manifest_, source.holdout);
        for (std::size_t i = 1; i < ids.size(); ++i) bytes += ids[i] < 256 ? 1 : 0;
        tokens += static_cast<double>(ids.size() - 1);
    }
    ASSERT_LT(bytes, tokens);
    EXPECT_DOUBLE_EQ(holdout_bytes_per_token(manifest_), bytes / tokens);
}

// The digest of the rows of `steps` steps of `batch` rows, each worker reading its contiguous block of every step by
// itself.
std::string stream_digest(const Corpus& corpus, std::uint64_t first_step, std::uint64_t steps, std::uint64_t batch,
                          std::uint64_t workers) {
    Sha256 hash;
    for (std::uint64_t step = first_step; step < first_step + steps; ++step) {
        Rows rows(batch);
        for (std::uint64_t worker = workers; worker-- > 0;) {
            const std::uint64_t count = batch / workers;
            const std::uint64_t begin = worker * count;
            corpus.read_train({step * batch + begin, count},
                              std::span(rows.inputs).subspan(begin * kLength, count * kLength),
                              std::span(rows.targets).subspan(begin * kLength, count * kLength));
        }
        hash.update(std::as_bytes(std::span(rows.inputs)));
        hash.update(std::as_bytes(std::span(rows.targets)));
    }
    return hash.finish();
}

TEST_F(CorpusTest, GivesTheSameStreamToAnyNumberOfWorkersFromAnyRestartPoint) {
    constexpr std::uint64_t kBatch = 24;
    for (const std::uint64_t first : {0u, 1u, 17u, 300u, 100'000u}) {
        const std::string expected = stream_digest(open(), first, 40, kBatch, 1);
        for (const std::uint64_t workers : {1u, 2u, 3u, 4u, 8u}) {
            const Corpus reopened = open();
            EXPECT_EQ(stream_digest(reopened, first, 40, kBatch, workers), expected)
                << workers << " workers from step " << first;
        }
        EXPECT_NE(stream_digest(open(1338), first, 40, kBatch, 1), expected);
    }
    // Another batch size cuts the same sequence of rows elsewhere.
    const Corpus corpus = open();
    Rows one(96);
    corpus.read_train({0, 96}, one.inputs, one.targets);
    for (std::uint64_t i = 0; i < 96; ++i) {
        Rows single(1);
        corpus.read_train({i, 1}, single.inputs, single.targets);
        ASSERT_TRUE(std::ranges::equal(single.inputs, std::span(one.inputs).subspan(i * kLength, kLength)));
    }
}

TEST_F(CorpusTest, CanBeReadByManyThreadsAtOnce) {
    const Corpus corpus = open();
    Rows expected(600);
    open().read_train({0, 600}, expected.inputs, expected.targets);
    std::atomic<int> equal{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&] {
            Rows rows(600);
            corpus.read_train({0, 600}, rows.inputs, rows.targets);
            equal += rows.inputs == expected.inputs && rows.targets == expected.targets ? 1 : 0;
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(equal, 4);
}

TEST_F(CorpusTest, RefusesWhatDoesNotFitTheManifest) {
    EXPECT_NE(message_of<ConfigError>([&] { Corpus(manifest_, {1}, kLength, 1); }).find("1 weights for its 2 sources"),
              std::string::npos);
    EXPECT_NE(message_of<ConfigError>([&] {
                  Corpus(manifest_, {1, 0}, kLength, 1);
              }).find("source 1 has weight 0"),
              std::string::npos);
    EXPECT_NE(message_of<ConfigError>([&] {
                  Corpus(manifest_, {1, 1}, 0, 1);
              }).find("sequence_length is 0"),
              std::string::npos);
    Manifest other = manifest_;
    other.shards[2].tokens += 1;
    EXPECT_NE(message_of<DataError>([&] {
                  Corpus(other, {1, 1}, kLength, 1);
              }).find("shard-00002.h5' is not the manifest's"),
              std::string::npos);
    other = manifest_;
    other.sources[1].train = {{{0, 0, 1}}, 1};
    EXPECT_NE(message_of<DataError>([&] {
                  Corpus(other, {1, 1}, kLength, 1);
              }).find("'b.txt': it has 1 tokens, expected at least 2"),
              std::string::npos);
    const Corpus corpus = open();
    Rows rows(2);
    EXPECT_THROW(corpus.read_holdout({corpus.holdout_rows() - 1, 2}, rows.inputs, rows.targets), InternalError);
}

TEST(CorpusOfOneRow, MasksWhatIsNotThere) {
    const TempDirectory directory;
    directory.write("a.txt", "abc");
    const Corpus corpus(prepare_here(config_of("a.txt"), directory.path(), directory / "corpora"), {1}, 5, 1);
    EXPECT_EQ(corpus.train_rows(), 1u);
    EXPECT_EQ(corpus.holdout_rows(), 0u);
    std::vector<std::int64_t> inputs(10), targets(10);
    corpus.read_train({0, 2}, inputs, targets);
    EXPECT_EQ(inputs, (std::vector<std::int64_t>{'a', 'b', 'c', 0, 0, 'a', 'b', 'c', 0, 0}));
    EXPECT_EQ(targets, (std::vector<std::int64_t>{'b', 'c', 256, kMasked, kMasked, 'b', 'c', 256, kMasked, kMasked}));
}

TEST(DamagedShard, IsNamedWithItsBlockWhenThatIsRead) {
    const TempDirectory directory;
    directory.write("a.txt", words(3 * kBlockTokens - 1, 1));
    const Manifest manifest = prepare_here(config_of("a.txt"), directory.path(), directory / "corpora");
    const auto file = manifest.directory / "shard-00000.h5";
    const std::string content = read_file(file);
    const std::string block(words(3 * kBlockTokens - 1, 1).substr(kBlockTokens, 20));
    std::string wide;
    for (const char letter : block) wide += {letter, '\0'};
    const std::size_t offset = content.find(wide);
    ASSERT_NE(offset, std::string::npos);
    flip_byte(file, offset + 100'000);
    const Corpus corpus(manifest, {1}, 1024, 1);
    int refused = 0;
    Rows rows(16);
    for (std::uint64_t position = 0; position < corpus.train_rows(); ++position) {
        const std::uint64_t first = corpus.order().at(position).row * 1024;
        const bool touches = first + 1024 >= kBlockTokens && first < 2 * kBlockTokens;
        try {
            corpus.read_train({position, 1}, rows.inputs, rows.targets);
            ASSERT_FALSE(touches) << "row at token " << first;
        } catch (const DataError& error) {
            ASSERT_TRUE(touches);
            ASSERT_NE(
                std::string(error.what()).find("shard-00000.h5' is damaged in block 1 (tokens 524288 to 1048576)"),
                std::string::npos)
                << error.what();
            ++refused;
        }
    }
    EXPECT_EQ(refused, 513);
    EXPECT_THROW(Shard(file).verify(), DataError);
}

TEST(DamagedShard, IsRefusedWhereverAByteIsFlippedOrChangesNothing) {
    const TempDirectory directory;
    directory.write("a.txt", words(20'000, 1));
    DataConfig config = config_of("a.txt");
    const Manifest manifest = prepare_here(config, directory.path(), directory / "corpora");
    const auto file = manifest.directory / "shard-00000.h5";
    const auto ids = tokens_of(manifest, manifest.sources[0].train);
    int refused = 0;
    std::mt19937_64 random(3);
    for (int trial = 0; trial < 300; ++trial) {
        const std::uint64_t offset = random() % (trial % 2 == 0 ? manifest.shards[0].bytes : 2000);
        flip_byte(file, offset);
        try {
            EXPECT_TRUE(tokens_of(manifest, manifest.sources[0].train) == ids) << "byte " << offset;
        } catch (const DataError& error) {
            EXPECT_NE(std::string(error.what()).find("shard-00000.h5"), std::string::npos);
            ++refused;
        }
        flip_byte(file, offset);
    }
    EXPECT_GT(refused, 150);
}

TEST(DamagedShard, OfAnotherKindIsRefusedByName) {
    const TempDirectory directory;
    directory.write("x.h5", "not HDF5");
    EXPECT_NE(message_of<DataError>([&] { Shard(directory / "x.h5"); }).find("cannot read token shard"),
              std::string::npos);
    EXPECT_THROW(Shard(directory / "none.h5"), IoError);
}

}  // namespace
}  // namespace kiban::data
