// SPDX-License-Identifier: Apache-2.0
// Which corpus a corpus came from, over several generations, and what is found when a record or a parent was changed.
#include "data/lineage.h"

#include <nlohmann/json.hpp>

#include <fstream>
#include <future>

#include "data/digest.h"
#include "data/prepare.h"
#include "monitoring/error.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

class CorpusLineage : public testing::Test {
  protected:
    CorpusLineage() {
        for (std::size_t i = 0; i < 4; ++i) directory_.write(fmt::format("{}.txt", i), words(2000, i));
        first_ = prepared({"0.txt"});
        second_ = prepared({"0.txt", "1.txt"});
        third_ = prepared({"2.txt", "1.txt"});
        record_parent(second_, first_);
        record_parent(third_, second_);
    }

    Manifest prepared(const std::vector<std::string>& files) {
        DataConfig config = config_of(files[0]);
        for (std::size_t i = 1; i < files.size(); ++i) config.sources.emplace_back().path = files[i];
        return prepare_here(config, directory_.path(), directory_ / "corpora");
    }

    std::string refusal() const {
        return message_of<DataError>([&] { check_lineage(third_); });
    }
    static std::filesystem::path record_of(const Manifest& manifest) { return manifest.directory / "lineage.jsonl"; }

    TempDirectory directory_;
    Manifest first_, second_, third_;
};

TEST_F(CorpusLineage, NamesParentsAndTheirsAndWhetherTheirSourcesAreAllThere) {
    EXPECT_TRUE(check_lineage(first_).empty());
    const auto ancestors = check_lineage(third_);
    ASSERT_EQ(ancestors.size(), 2U);
    EXPECT_EQ(ancestors[0].child, third_.digest());
    EXPECT_EQ(ancestors[0].digest, second_.digest());
    EXPECT_FALSE(ancestors[0].appended);
    EXPECT_EQ(ancestors[1].child, second_.digest());
    EXPECT_EQ(ancestors[1].digest, first_.digest());
    EXPECT_TRUE(ancestors[1].appended);
    EXPECT_TRUE(ancestors[0].present && ancestors[1].present);
}

TEST_F(CorpusLineage, IsRecordedOnceAndMovesNoDigest) {
    const std::string before = read_file(record_of(second_));
    record_parent(second_, first_);
    record_parent(second_, second_);
    EXPECT_EQ(read_file(record_of(second_)), before);
    EXPECT_EQ(Manifest::load(second_.directory / "manifest.json").digest(), second_.digest());
    record_parent(second_, third_);
    EXPECT_EQ(check_lineage(second_).size(), 3U) << "two parents, and the third's, which is itself";
}

// As runs of an array do that go on with the same new corpus.
TEST_F(CorpusLineage, TwoParentsThatAreRecordedAtOnceAreBothThere) {
    const Manifest other = prepared({"3.txt"});
    for (int round = 0; round < 20; ++round) {
        std::filesystem::remove(record_of(second_));
        auto beside = std::async(std::launch::async, [&] { record_parent(second_, first_); });
        record_parent(second_, other);
        beside.get();
        ASSERT_EQ(check_lineage(second_).size(), 2U) << round;
    }
}

TEST_F(CorpusLineage, WhoseParentIsGoneSaysSo) {
    std::filesystem::remove_all(first_.directory);
    const auto ancestors = check_lineage(third_);
    ASSERT_EQ(ancestors.size(), 2U);
    EXPECT_TRUE(ancestors[0].present);
    EXPECT_FALSE(ancestors[1].present);
    EXPECT_EQ(ancestors[1].digest, first_.digest());
}

TEST_F(CorpusLineage, WithAFlippedByteAnywhereInItsRecordIsRefused) {
    const std::string record = read_file(record_of(third_));
    for (std::uint64_t at = 0; at + 1 < record.size(); ++at) {
        flip_byte(record_of(third_), at);
        ASSERT_NE(refusal().find("line 1 was changed"), std::string::npos) << at;
        std::ofstream(record_of(third_), std::ios::binary) << record;
    }
}

TEST_F(CorpusLineage, WhoseParentWasChangedIsRefused) {
    const std::string manifest = read_file(second_.directory / "manifest.json");
    std::string changed = manifest;
    changed.replace(changed.find("1.txt"), 5, "9.txt");
    std::ofstream(second_.directory / "manifest.json", std::ios::binary) << changed;
    EXPECT_NE(refusal().find("the parent corpus"), std::string::npos);
}

TEST_F(CorpusLineage, ThatItsSourcesContradictIsRefused) {
    auto line = nlohmann::json::parse(read_file(record_of(second_)));
    line["relation"] = "prepared again";
    line.erase("sha256");
    line["sha256"] = sha256(line.dump());
    std::ofstream(record_of(second_), std::ios::binary) << line.dump() << "\n";
    EXPECT_NE(refusal().find("says that it was prepared again from its parent " + first_.digest()), std::string::npos)
        << refusal();
}

TEST_F(CorpusLineage, OfAnotherCorpusIsRefused) {
    std::filesystem::copy_file(record_of(second_), record_of(third_),
                               std::filesystem::copy_options::overwrite_existing);
    EXPECT_NE(refusal().find("is not of this corpus"), std::string::npos);
}

}  // namespace
}  // namespace kiban::data
