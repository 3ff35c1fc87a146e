// SPDX-License-Identifier: Apache-2.0
// Damage at rest: whatever happens to the bytes of a committed checkpoint, a load gives the right elements or a
// CheckpointError.
#include <gtest/gtest.h>

#include <random>

#include "checkpoint/commit.h"
#include "checkpoint/reader.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;
using testing::flip_bit;
using testing::Scratch;
using testing::small_model;
using testing::write_checkpoint;

enum class Outcome { right, refused, wrong };

// Loads everything on another layout than it was saved on.
Outcome load(const fs::path& checkpoint) {
    try {
        const CheckpointReader reader(checkpoint);
        const auto curve = read_curve_of(checkpoint);
        if (!curve || testing::curve_text(*curve) != testing::curve_text(testing::curve_rows(2))) return Outcome::wrong;
        return testing::wrong_tensors(reader, small_model(), testing::first_dim_layout, 3).empty() ? Outcome::right
                                                                                                   : Outcome::wrong;
    } catch (const CheckpointError&) {
        return Outcome::refused;
    }
}

class Damage : public ::testing::Test {
  protected:
    Damage() : older_(write_checkpoint({scratch_.path(), 1})), checkpoint_(write_checkpoint({scratch_.path(), 2})) {
        for (const auto& entry : fs::directory_iterator(checkpoint_.directory)) files_.push_back(entry.path());
        std::ranges::sort(files_);
    }

    // Refused by the reader and by verify; when sizes, COMMIT or MANIFEST.json are concerned the scan falls back too.
    void expect_refused(const std::string& what, bool scan_notices) {
        EXPECT_EQ(load(checkpoint_.directory), Outcome::refused) << what;
        EXPECT_FALSE(verify_checkpoint(checkpoint_.directory).faults.empty()) << what;
        EXPECT_EQ(quick_fault(checkpoint_.directory).has_value(), scan_notices) << what;
        EXPECT_EQ(newest_checkpoint(scratch_.path())->step, scan_notices ? 1U : 2U) << what;
        fs::remove(scratch_.path() / "ckpt" / "rejected.jsonl");
    }

    Scratch scratch_;
    CheckpointInfo older_;
    CheckpointInfo checkpoint_;
    std::vector<fs::path> files_;
};

TEST_F(Damage, Row09OfASingleBitIsNeverSilent) {
    ASSERT_EQ(files_.size(), 5U);  // two shards, the curve, the manifest, the record
    ASSERT_EQ(load(checkpoint_.directory), Outcome::right);
    std::mt19937_64 engine(20240731);
    int flips = 0;
    int refused = 0;
    for (const fs::path& file : files_) {
        const std::uint64_t bits = fs::file_size(file) * 8;
        const bool every_bit = file.filename() == "COMMIT";
        for (std::uint64_t i = 0; i < (every_bit ? bits : 3500); ++i) {
            const std::uint64_t bit = every_bit ? i : engine() % bits;
            flip_bit(file, bit / 8, static_cast<int>(bit % 8));
            const Outcome outcome = load(checkpoint_.directory);
            ASSERT_NE(outcome, Outcome::wrong) << file << " bit " << bit;
            refused += outcome == Outcome::refused ? 1 : 0;
            flip_bit(file, bit / 8, static_cast<int>(bit % 8));
            ++flips;
        }
    }
    EXPECT_GT(flips, 10000);
    EXPECT_EQ(refused, flips);  // every byte of a small checkpoint is read, so every flip is noticed
    EXPECT_EQ(load(checkpoint_.directory), Outcome::right);
}

TEST_F(Damage, Row09OfASingleBitIsFoundByVerify) {
    std::mt19937_64 engine(5);
    for (const fs::path& file : files_) {
        for (int i = 0; i < 100; ++i) {
            const std::uint64_t bit = engine() % (fs::file_size(file) * 8);
            flip_bit(file, bit / 8, static_cast<int>(bit % 8));
            ASSERT_FALSE(verify_checkpoint(checkpoint_.directory).faults.empty()) << file << " bit " << bit;
            flip_bit(file, bit / 8, static_cast<int>(bit % 8));
        }
    }
    EXPECT_TRUE(verify_checkpoint(checkpoint_.directory).faults.empty());
}

TEST_F(Damage, Row08ByTruncationIsNoticedWhateverIsMissing) {
    for (const fs::path& file : files_) {
        const std::string good = monitoring::read_text(file);
        for (const std::size_t bytes : {good.size() - 1, good.size() - 4, good.size() - 512, good.size() - 4096,
                                        good.size() / 2, std::size_t{0}}) {
            if (bytes >= good.size()) continue;  // shorter than what is cut
            fs::resize_file(file, bytes);
            expect_refused(file.filename().string() + " cut to " + std::to_string(bytes), true);
            testing::put_text(file, good);
        }
        testing::put_text(file, good + std::string(1, '\0'));
        expect_refused(file.filename().string() + " one byte longer", true);
        testing::put_text(file, good);
    }
    EXPECT_EQ(load(checkpoint_.directory), Outcome::right);
}

TEST_F(Damage, Row10ByAMissingFileIsNoticed) {
    for (const fs::path& file : files_) {
        fs::rename(file, scratch_.path() / "aside");
        expect_refused("without " + file.filename().string(), true);
        fs::create_directory(file);
        expect_refused(file.filename().string() + " is a directory", true);
        fs::remove(file);
        fs::rename(scratch_.path() / "aside", file);
    }
    EXPECT_EQ(load(checkpoint_.directory), Outcome::right);
}

TEST_F(Damage, Row10ByAnExtraFileIsNoticedButDotFilesOfTheFileSystemAreNot) {
    testing::put_text(checkpoint_.directory / ".nfs0000000012345678", "a network file system's");
    EXPECT_EQ(load(checkpoint_.directory), Outcome::right);
    testing::put_text(checkpoint_.directory / "shard-00002.h5", "");
    expect_refused("an extra shard", true);
}

TEST_F(Damage, Row10BySwappedShardsIsNoticed) {
    const fs::path a = checkpoint_.directory / "shard-00000.h5";
    const fs::path b = checkpoint_.directory / "shard-00001.h5";
    const bool same_size = fs::file_size(a) == fs::file_size(b);
    fs::rename(a, scratch_.path() / "aside");
    fs::rename(b, a);
    fs::rename(scratch_.path() / "aside", b);
    expect_refused("swapped shards", !same_size);
}

TEST_F(Damage, Row10ByAShardOfAnotherStepIsNoticedThoughItsSizeIsRight) {
    for (const char* name : {"shard-00000.h5", "shard-00001.h5"}) {
        const std::string good = monitoring::read_text(checkpoint_.directory / name);
        const std::string other = monitoring::read_text(older_.directory / name);
        ASSERT_EQ(other.size(), good.size());
        testing::put_text(checkpoint_.directory / name, other);
        expect_refused(std::string(name) + " of step 1", false);
        testing::put_text(checkpoint_.directory / name, good);
    }
}

TEST_F(Damage, Row10ByAShardOfAnotherAttemptAtTheSameStepIsNoticedThoughItsSizeIsRight) {
    // The other attempt trained on: its elements are those of another step.
    const Scratch elsewhere;
    const auto other = write_checkpoint({elsewhere.path(), 4, 2});
    for (const char* name : {"shard-00000.h5", "shard-00001.h5"}) {
        const std::string good = monitoring::read_text(checkpoint_.directory / name);
        const std::string stranger = monitoring::read_text(other.directory / name);
        ASSERT_EQ(stranger.size(), good.size());
        testing::put_text(checkpoint_.directory / name, stranger);
        expect_refused(std::string(name) + " of another attempt", false);
        testing::put_text(checkpoint_.directory / name, good);
    }
    fs::remove_all(checkpoint_.directory);
    fs::copy(other.directory, scratch_.path() / "ckpt" / "step-000000000004-a000001");
    EXPECT_NE(quick_fault(scratch_.path() / "ckpt" / "step-000000000004-a000001")
                  ->find("its COMMIT is that of step-000000000004-a000002"),
              std::string::npos);
    EXPECT_EQ(newest_checkpoint(scratch_.path())->step, 1U);
}

TEST_F(Damage, Row11PointersToTheNewestAreNeverAsked) {
    const fs::path checkpoints = scratch_.path() / "ckpt";
    const std::string stale = R"({"checkpoint":"step-000000000001-a000001"})";
    for (const std::string& text : {stale, std::string(), std::string("garbage \0 {"), std::string("{\"step\":99}")}) {
        testing::put_text(checkpoints / "latest.json", text);
        testing::put_text(checkpoints / "latest", text);
        EXPECT_EQ(newest_checkpoint(scratch_.path())->directory, checkpoint_.directory) << text;
    }
    fs::remove(checkpoints / "latest");
    fs::create_directory_symlink(older_.directory, checkpoints / "latest");
    EXPECT_EQ(newest_checkpoint(scratch_.path())->directory, checkpoint_.directory);
    EXPECT_EQ(list_checkpoints(scratch_.path()).size(), 2U);
}

TEST_F(Damage, ByAManifestOrRecordOfAnotherStepIsNoticed) {
    for (const char* name : {"MANIFEST.json", "COMMIT"}) {
        const std::string good = monitoring::read_text(checkpoint_.directory / name);
        testing::put_text(checkpoint_.directory / name, monitoring::read_text(older_.directory / name));
        expect_refused(std::string(name) + " of step 1", true);
        testing::put_text(checkpoint_.directory / name, good);
    }
    // Both, and all shards: a whole older checkpoint under a newer name.
    fs::remove_all(checkpoint_.directory);
    fs::copy(older_.directory, checkpoint_.directory);
    EXPECT_NE(quick_fault(checkpoint_.directory)->find("its COMMIT is that of step-000000000001-a000001"),
              std::string::npos);
    expect_refused("step 1 under the name of step 2", true);
}

TEST_F(Damage, ByZeroedBlocksIsNoticed) {
    for (const char* name : {"shard-00000.h5", "shard-00001.h5"}) {
        const std::string good = monitoring::read_text(checkpoint_.directory / name);
        for (std::size_t at = 0; at < good.size(); at += 512) {
            std::string zeroed = good;
            std::fill_n(zeroed.begin() + static_cast<std::ptrdiff_t>(at), std::min<std::size_t>(512, good.size() - at),
                        '\0');
            if (zeroed == good) continue;
            testing::put_text(checkpoint_.directory / name, zeroed);
            ASSERT_EQ(load(checkpoint_.directory), Outcome::refused) << name << " at " << at;
        }
        testing::put_text(checkpoint_.directory / name, good);
    }
}

TEST_F(Damage, ACopyUnderAnyOtherNameIsStillReadable) {
    fs::copy(checkpoint_.directory, scratch_.path() / "backup of tuesday");
    EXPECT_EQ(load(scratch_.path() / "backup of tuesday"), Outcome::right);
    EXPECT_EQ(load(scratch_.path() / "backup of tuesday" / ""), Outcome::right);
}

}  // namespace
}  // namespace kiban::checkpoint
