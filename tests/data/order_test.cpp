// SPDX-License-Identifier: Apache-2.0
#include "data/order.h"

#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "data/mixture.h"
#include "data/permutation.h"
#include "data/row_ledger.h"
#include "monitoring/error.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

TEST(Permutation, IsABijectionForEverySizeUpTo2000) {
    for (std::uint64_t size = 1; size <= 2000; ++size) {
        const Permutation permutation(size, 7, "source");
        std::vector<bool> seen(size, false);
        for (std::uint64_t index = 0; index < size; ++index) {
            const std::uint64_t image = permutation.forward(size % 3, index);
            ASSERT_LT(image, size);
            ASSERT_FALSE(seen[image]) << image << " twice, size " << size;
            seen[image] = true;
            ASSERT_EQ(permutation.inverse(size % 3, image), index);
        }
    }
}

TEST(Permutation, InverseUndoesForwardForLargeSizes) {
    std::mt19937_64 random(1);
    for (int trial = 0; trial < 2000; ++trial) {
        const std::uint64_t size = 1 + (random() >> (3 + trial % 40));
        const Permutation permutation(size, random(), "large");
        const std::uint64_t epoch = random() >> (trial % 64);
        const std::uint64_t index = random() % size;
        const std::uint64_t image = permutation.forward(epoch, index);
        ASSERT_LT(image, size);
        ASSERT_EQ(permutation.inverse(epoch, image), index) << "size " << size << " epoch " << epoch;
    }
}

// Chi-square with 49 degrees of freedom: 99.9999 % of fair draws lie between 13 and 114.
TEST(Permutation, PutsAnElementEverywhereEquallyOftenOverTheEpochs) {
    constexpr std::uint64_t kSize = 50;
    constexpr std::uint64_t kEpochs = 50000;
    const Permutation permutation(kSize, 1337, "chi");
    for (const std::uint64_t index : {0u, 1u, 7u, 49u}) {
        std::vector<double> counts(kSize, 0);
        for (std::uint64_t epoch = 0; epoch < kEpochs; ++epoch) ++counts[permutation.forward(epoch, index)];
        double chi_square = 0;
        for (const double count : counts) chi_square += (count - 1000) * (count - 1000) / 1000;
        EXPECT_GT(chi_square, 13) << "element " << index;
        EXPECT_LT(chi_square, 114) << "element " << index;
    }
}

TEST(Permutation, LeavesNoCorrelationBetweenNeighbours) {
    constexpr std::uint64_t kSize = 100003;
    const Permutation permutation(kSize, 3, "lag");
    for (const std::uint64_t lag : {0u, 1u, 2u, 317u, 1000u}) {  // lag 0: between an element and its image
        double sum = 0;
        for (std::uint64_t index = 0; index < kSize; ++index) {
            const double x =
                static_cast<double>(lag == 0 ? index : permutation.forward(0, (index + lag) % kSize)) / kSize - 0.5;
            const double y = static_cast<double>(permutation.forward(0, index)) / kSize - 0.5;
            sum += x * y;
        }
        EXPECT_LT(std::abs(sum / kSize * 12), 5 / std::sqrt(kSize)) << "lag " << lag;
    }
}

TEST(Permutation, DependsOnEpochSeedAndSource) {
    const auto first = [](std::uint64_t seed, const std::string& id, std::uint64_t epoch) {
        const Permutation permutation(1u << 20, seed, id);
        std::vector<std::uint64_t> images;
        for (std::uint64_t index = 0; index < 16; ++index) images.push_back(permutation.forward(epoch, index));
        return images;
    };
    EXPECT_EQ(first(1, "a", 0), first(1, "a", 0));
    EXPECT_NE(first(1, "a", 0), first(1, "a", 1));
    EXPECT_NE(first(1, "a", 0), first(2, "a", 0));
    EXPECT_NE(first(1, "a", 0), first(1, "b", 0));
}

std::vector<std::vector<double>> mixtures() {
    std::vector<std::vector<double>> all{
        {1}, {5, 5}, {0.001, 0.999}, {3, 1, 2}, {0.5, 0.25, 0.125, 0.125}, {0.7, 0.2, 0.1}};
    std::mt19937_64 random(5);
    all.emplace_back();
    for (int i = 0; i < 40; ++i) all.back().push_back(0.01 + static_cast<double>(random() % 1000));
    return all;
}

TEST(Mixture, KeepsEveryPrefixWithinOneOfEachShare) {
    for (const auto& weights : mixtures()) {
        const Mixture mixture(weights);
        std::vector<std::uint64_t> counts(weights.size(), 0);
        const auto period = static_cast<std::int64_t>(mixture.period());
        for (std::int64_t position = 0; position < period + period / 2; ++position) {
            const Mixture::Place place = mixture.at(static_cast<std::uint64_t>(position));
            ASSERT_EQ(place.count, counts[place.source]);
            ++counts[place.source];
            for (std::uint32_t source = 0; source < weights.size(); ++source) {
                const auto share = static_cast<std::int64_t>(mixture.per_period(source));
                const std::int64_t off = static_cast<std::int64_t>(counts[source]) * period - share * (position + 1);
                ASSERT_LT(std::abs(off), period) << "source " << source << " after " << position + 1;
            }
        }
    }
}

TEST(Mixture, RoundsWeightsToOneMillionth) {
    for (const auto& weights : mixtures()) {
        const Mixture mixture(weights);
        const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
        for (std::uint32_t source = 0; source < weights.size(); ++source) {
            const double share =
                static_cast<double>(mixture.per_period(source)) / static_cast<double>(mixture.period());
            EXPECT_NEAR(share, weights[source] / total, 1.0 / (1 << 20));
        }
    }
}

TEST(Mixture, FindsThePositionOfEveryAppearance) {
    for (const auto& weights : mixtures()) {
        const Mixture mixture(weights);
        for (std::uint64_t position = 0; position < 3000; ++position) {
            for (const std::uint64_t away : {std::uint64_t{0}, std::uint64_t{999'999'937}, std::uint64_t{1} << 50}) {
                const std::uint64_t far = position + away;
                const Mixture::Place place = mixture.at(far);
                ASSERT_EQ(mixture.position_of(place.source, place.count), far);
            }
        }
    }
}

TEST(Mixture, RefusesWeightsThatAreNoShares) {
    EXPECT_NE(message_of<ConfigError>([] { Mixture({}); }).find("there are none"), std::string::npos);
    EXPECT_NE(message_of<ConfigError>([] { Mixture({1, 0}); }).find("source 1 has weight 0"), std::string::npos);
    EXPECT_NE(message_of<ConfigError>([] { Mixture({-2}); }).find("weight -2"), std::string::npos);
    EXPECT_NE(message_of<ConfigError>([] { Mixture({std::nan("")}); }).find("weight nan"), std::string::npos);
    EXPECT_NE(message_of<ConfigError>([] { Mixture({1, 1e-9}); }).find("at least 1/1048576"), std::string::npos);
}

// Every position of an order that changes thrice, also by a source that comes late, against sources that count for
// themselves.
TEST(SampleOrder, GoesOnWithEachSourcesNextRowWhereTheMixtureChanges) {
    const std::vector<OrderSource> sources = {
        {.id = "a", .rows = 97}, {.id = "b", .rows = 31}, {.id = "c", .rows = 50}};
    const std::vector<MixtureSegment> mixture = {{0, {1, 1}}, {123, {0.3, 0.7}}, {124, {5, 1, 2}}, {700, {1, 1, 1}}};
    const SampleOrder order(sources, 9, mixture);
    std::vector<SampleOrder> alone;
    for (const OrderSource& source : sources) alone.emplace_back(std::vector<OrderSource>{source}, 9);
    std::vector<std::uint64_t> counts(3);
    std::vector<std::uint64_t> at_700;
    RowLedger ledger({97, 31, 50});
    for (std::uint64_t position = 0; position < 2000; ++position) {
        if (position == 700) at_700 = counts;
        const RowRef row = order.at(position);
        ASSERT_TRUE(row.source < 2 || position >= 124) << position;
        const RowRef expected = alone[row.source].at(counts[row.source]++);
        ASSERT_EQ(row.epoch, expected.epoch) << position;
        ASSERT_EQ(row.row, expected.row) << position;
        ASSERT_EQ(order.position_of(row), position);
        ledger.use(row);
    }
    for (std::size_t source = 0; source < 3; ++source)
        EXPECT_NEAR(static_cast<double>(counts[source] - at_700[source]), 1300.0 / 3, 1) << source;
    EXPECT_FALSE(std::ranges::any_of(ledger.sources(), &SourceLedger::faulty));
    EXPECT_EQ(ledger.sources()[0].epoch, counts[0] / 97);
}

TEST(SampleOrder, GivesManyRowsAsItGivesEach) {
    const SampleOrder order({{.id = "a", .rows = 7}, {.id = "b", .rows = 300}}, 9, {{0, {1}}, {40, {1, 3}}});
    for (const std::uint64_t first : {0U, 3U, 39U, 1000U}) {
        std::vector<RowRef> rows(150);
        order.at(first, rows);
        for (std::uint64_t i = 0; i < rows.size(); ++i) ASSERT_EQ(rows[i], order.at(first + i)) << first + i;
    }
}

TEST(SampleOrder, WithoutAChangeIsTheSameHoweverItIsSaid) {
    const std::vector<OrderSource> sources = {{"a", 1000, 0.25}, {"b", 300, 0.75}};
    const SampleOrder plain(sources, 4);
    const SampleOrder said(sources, 4, {{0, {0.25, 0.75}}});
    const SampleOrder changed(sources, 4, {{0, {0.25, 0.75}}, {512, {0.75, 0.25}}});
    for (std::uint64_t position = 0; position < 512; ++position) {
        ASSERT_EQ(plain.at(position), said.at(position));
        ASSERT_EQ(plain.at(position), changed.at(position));
    }
}

TEST(SampleOrder, RefusesMixturesThatAreNone) {
    const std::vector<OrderSource> sources = {{.id = "a", .rows = 9}, {.id = "b", .rows = 9}};
    using Segments = std::vector<MixtureSegment>;
    const std::vector<Segments> wrong = {Segments{{1, {1, 1}}}, Segments{{0, {1, 1}}, {5, {1, 1}}, {5, {1, 2}}},
                                         Segments{{0, {1, 1}}, {5, {1}}}, Segments{{0, {1, 1, 1}}}, Segments{{0, {}}}};
    for (const Segments& mixture : wrong) {
        EXPECT_NE(message_of<ConfigError>([&] { SampleOrder(sources, 1, mixture); }).find("cannot order the rows"),
                  std::string::npos);
    }
    EXPECT_NE(message_of<ConfigError>([&] {
                  mixture_from_json({{{"first", 0}}});
              }).find("expected a mixture as "),
              std::string::npos);
    const std::vector<MixtureSegment> mixture = {{0, {0.1, 2}}, {1ULL << 60, {3, 4}}};
    EXPECT_EQ(mixture_from_json(nlohmann::json::parse(to_json(mixture).dump())), mixture);
}

TEST(Continued, KeepsWhatWasReadAndChangesWhatComes) {
    using Segments = std::vector<MixtureSegment>;
    EXPECT_EQ(continued({}, 0, {1, 2}), (Segments{{0, {1, 2}}}));
    EXPECT_EQ(continued({{0, {1, 2}}}, 40, {1, 2}), (Segments{{0, {1, 2}}}));
    EXPECT_EQ(continued({{0, {1, 2}}}, 40, {2, 2}), (Segments{{0, {1, 2}}, {40, {2, 2}}}));
    EXPECT_EQ(continued({{0, {1, 2}}, {40, {2, 2}}}, 40, {3, 3}), (Segments{{0, {1, 2}}, {40, {3, 3}}}));
    EXPECT_EQ(continued({{0, {1, 2}}, {40, {2, 2}}}, 24, {1, 2}), (Segments{{0, {1, 2}}}));
}

TEST(RowLedger, FindsARowThatComesAgainAndOneThatNeverCame) {
    RowLedger ledger({3, 2});
    for (const std::uint64_t row : {2U, 0U, 1U}) ledger.use({0, 0, row});
    ledger.use({0, 1, 1});
    EXPECT_FALSE(std::ranges::any_of(ledger.sources(), &SourceLedger::faulty));
    ledger.use({0, 1, 1});
    EXPECT_EQ(ledger.sources()[0].repeated, 1U);
    ledger.use({0, 0, 1});  // its epoch is over
    EXPECT_EQ(ledger.sources()[0].repeated, 2U);
    ledger.use({1, 0, 1});
    ledger.use({1, 2, 0});  // a row of epoch 0, and both of epoch 1
    EXPECT_EQ(ledger.sources()[1].lost, 3U);
    EXPECT_EQ(ledger.sources()[1].used, 1U);
    EXPECT_TRUE(std::ranges::any_of(ledger.sources(), &SourceLedger::faulty));
    EXPECT_NE(message_of<DataError>([&] { ledger.use({1, 2, 2}); }).find("row 2 of source 1"), std::string::npos);
}

// What a change of weights would be without counting: an order that begins anew.
TEST(RowLedger, FindsTheRowsThatAnOrderBegunAnewRepeats) {
    const std::vector<OrderSource> before = {{"a", 100, 1}, {"b", 100, 1}};
    const std::vector<OrderSource> after = {{"a", 100, 1}, {"b", 100, 3}};
    const SampleOrder first(before, 1);
    const SampleOrder second(after, 1);
    RowLedger ledger({100, 100});
    for (std::uint64_t position = 0; position < 150; ++position)
        ledger.use(position < 60 ? first.at(position) : second.at(position));
    EXPECT_TRUE(std::ranges::any_of(ledger.sources(), &SourceLedger::faulty));
}

std::vector<OrderSource> three_sources() { return {{"alpha", 997, 5}, {"beta", 64, 1}, {"gamma", 1, 0.01}}; }

TEST(SampleOrder, ShowsEveryRowOnceInEachEpochOfItsSource) {
    const SampleOrder order(three_sources(), 42);
    std::map<std::pair<std::uint32_t, std::uint64_t>, std::set<std::uint64_t>> rows;
    for (std::uint64_t position = 0; position < 20000; ++position) {
        const RowRef row = order.at(position);
        ASSERT_TRUE(rows[std::make_pair(row.source, row.epoch)].insert(row.row).second)
            << "row shown twice at " << position;
    }
    for (const auto& [key, seen] : rows) {
        const bool last = !rows.contains({key.first, key.second + 1});
        const std::uint64_t size = three_sources()[key.first].rows;
        EXPECT_EQ(seen.size(), last ? seen.size() : size);
        EXPECT_LT(*seen.rbegin(), size);
    }
    EXPECT_TRUE(rows.contains({0u, 15u}));
}

TEST(SampleOrder, IsInvertibleAtAnyPosition) {
    const SampleOrder order(three_sources(), 42);
    std::mt19937_64 random(9);
    for (int trial = 0; trial < 20000; ++trial) {
        const std::uint64_t position = random() >> (14 + trial % 50);
        ASSERT_EQ(order.position_of(order.at(position)), position);
    }
}

TEST(SampleOrder, OfASourceDoesNotDependOnTheOthers) {
    const SampleOrder alone({{"alpha", 997, 1}}, 42);
    const SampleOrder mixed(three_sources(), 42);
    std::uint64_t count = 0;
    for (std::uint64_t position = 0; position < 5000; ++position) {
        const RowRef row = mixed.at(position);
        if (row.source != 0) continue;
        ASSERT_EQ(row, alone.at(count));
        ++count;
    }
    EXPECT_GT(count, 4000u);
}

TEST(SampleOrder, RefusesASourceWithoutRows) {
    EXPECT_NE(message_of<ConfigError>([] {
                  SampleOrder({{"a", 5, 1}, {"b", 0, 1}}, 1);
              }).find("source 1 has none"),
              std::string::npos);
}

// tests/data/order_referee.py knows the order only from data/FORMAT.md.
TEST(SampleOrder, IsTheOneThatItsDocumentDescribes) {
    FILE* referee = ::popen("/usr/bin/python3 " KIBAN_SOURCE_DIR "/tests/data/order_referee.py", "r");
    ASSERT_NE(referee, nullptr);
    const SampleOrder order({{"alpha", 997, 5}, {"beta", 64, 2}, {"gamma", 3, 0.25}}, 42);
    unsigned long position = 0;
    unsigned long source = 0;
    unsigned long epoch = 0;
    unsigned long row = 0;
    int lines = 0;
    while (std::fscanf(referee, "%lu %lu %lu %lu", &position, &source, &epoch, &row) == 4) {
        EXPECT_EQ(order.at(position), (RowRef{static_cast<std::uint32_t>(source), epoch, row}))
            << "position " << position;
        ++lines;
    }
    EXPECT_EQ(::pclose(referee), 0);
    EXPECT_EQ(lines, 400);
}

}  // namespace
}  // namespace kiban::data
