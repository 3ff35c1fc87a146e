// SPDX-License-Identifier: Apache-2.0
// Near duplicates: the probability that the theory states, and corpora from which they are gone.
#include <cmath>
#include <random>

#include "data/clean/min_hash.h"
#include "data/clean/word_hashes.h"
#include "data/prepare.h"
#include "monitoring/error.h"
#include "tests/data/files.h"
#include "tests/data/shuffled.h"

namespace kiban::data {
namespace {

TEST(WordHashes, AreThoseOfLettersAndDigitsInSmallLetters) {
    EXPECT_EQ(word_hashes("Hello, World! 3.14").size(), 4u);
    EXPECT_EQ(word_hashes("Hello,\nWORLD -- 3/14"), word_hashes("hello world 3 14"));
    EXPECT_NE(word_hashes("hello world"), word_hashes("helloworld"));
    EXPECT_EQ(word_hashes("Größe naïve слово").size(), 3u);
    EXPECT_EQ(word_hashes("これは、基盤です。").size(), 7u) << "each character of a script without spaces";
    EXPECT_EQ(word_hashes("基盤abc設計").size(), 5u);
    EXPECT_EQ(word_hashes("a\xFF"
                          "b\xE3\x81 c\xF0\x9F")
                  .size(),
              3u)
        << "what is no UTF-8 stands between words";
    EXPECT_TRUE(word_hashes(" ... —「」！").empty());
}

std::vector<std::string> random_words(std::size_t count, std::mt19937_64& random) {
    std::vector<std::string> all;
    for (std::size_t i = 0; i < count; ++i) all.push_back(fmt::format("w{:x}", random()));
    return all;
}

std::string joined(const std::vector<std::string>& all) { return fmt::format("{}", fmt::join(all, " ")); }

// Of two texts of n words that differ in the last m: n-4-m runs are shared, and n-4+m there are in all.
double similarity(std::size_t n, std::size_t m) {
    return static_cast<double>(n - 4 - m) / static_cast<double>(n - 4 + m);
}

bool share_a_band(const std::string& x, const std::string& y) {
    const BandKeys first = band_keys(x);
    const BandKeys second = band_keys(y);
    for (std::size_t band = 0; band < kBands; ++band) {
        if (first[band] == second[band]) return true;
    }
    return false;
}

double share_of_pairs(std::size_t words, std::size_t changed, int pairs, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    int found = 0;
    for (int i = 0; i < pairs; ++i) {
        std::vector<std::string> text = random_words(words, random);
        const std::string before = joined(text);
        for (std::size_t at = words - changed; at < words; ++at) text[at] = fmt::format("x{:x}", random());
        found += share_a_band(before, joined(text)) ? 1 : 0;
    }
    return static_cast<double>(found) / pairs;
}

TEST(BandKeys, AreSharedWithTheProbabilityOfTheTheory) {
    constexpr int kPairs = 600;
    for (const std::size_t changed : {20u, 111u, 200u, 333u}) {
        const double j = similarity(1004, changed);
        const double expected = 1 - std::pow(1 - std::pow(j, 8), 14);
        const double deviation = std::sqrt(expected * (1 - expected) / kPairs) + 1e-9;
        EXPECT_NEAR(share_of_pairs(1004, changed, kPairs, changed), expected, 4.5 * deviation) << j;
    }
    // Fewer runs than bins: the bins that stay empty take over others', which changes the mean little.
    EXPECT_GE(share_of_pairs(64, 6, kPairs, 7), 0.88) << similarity(64, 6);
    EXPECT_LE(share_of_pairs(64, 30, kPairs, 8), 0.08) << similarity(64, 30);
    EXPECT_EQ(share_of_pairs(1004, 1004, 100, 9), 0);
}

TEST(BandKeys, OfShortTextsAreTheSameForTheSameWordsOnly) {
    EXPECT_EQ(band_keys("One two."), band_keys("one  two"));
    EXPECT_FALSE(share_a_band("one two", "one two three"));
    EXPECT_EQ(band_keys("!!"), band_keys("!!"));
    EXPECT_FALSE(share_a_band("!!", "??"));
}

std::string line(const std::string& text) { return nlohmann::json{{"text", text}}.dump() + "\n"; }

struct Planted {
    DataConfig config;
    std::vector<std::string> first;  // the documents of each source that are to stay
    std::vector<std::string> second;
    std::size_t near = 0;
    std::size_t equal = 0;
};

// Documents of two sources: new ones, some of those again, some with a word less, with another sign or another case.
Planted plant(const TempDirectory& directory) {
    std::mt19937_64 random(3);
    Planted planted;
    std::vector<std::string> originals;
    std::array<std::string, 2> files;
    for (int i = 0; i < 400; ++i) {
        const bool second = i >= 250;
        std::string text;
        if (i % 4 == 0 || originals.empty()) {
            text = joined(random_words(120, random));
            originals.push_back(text);
            (second ? planted.second : planted.first).push_back(text);
        } else {
            text = originals[random() % originals.size()];
            if (i % 4 == 1) ++planted.equal;
            if (i % 4 == 2) text = "Copied: " + text + "!";
            if (i % 4 == 3) text = text.substr(0, text.rfind(' '));
            planted.near += i % 4 == 1 ? 0 : 1;
        }
        files[second ? 1 : 0] += line(text);
    }
    directory.write("a.jsonl", files[0]);
    directory.write("b.jsonl", files[1]);
    planted.config = config_of("a.jsonl");
    planted.config.sources.emplace_back().path = "b.jsonl";
    planted.config.unit_bytes = 80'000;
    planted.config.shard_tokens = 50'000;
    planted.config.clean.deduplicate = "near";
    return planted;
}

TEST(NearDuplicates, AreGoneFromACorpusAndTheFirstOfThemStays) {
    const TempDirectory directory;
    const Planted planted = plant(directory);
    const Manifest manifest = prepare_here(planted.config, directory.path(), directory / "corpora");
    EXPECT_TRUE(tokens_of(manifest, manifest.sources[0].train) == ids_of(planted.first));
    EXPECT_TRUE(tokens_of(manifest, manifest.sources[1].train) == ids_of(planted.second));
    std::uint64_t near = 0;
    std::uint64_t equal = 0;
    for (const ManifestSource& source : manifest.sources) {
        near += source.cleaned.dropped.at("near_duplicate");
        equal += source.cleaned.dropped.at("duplicate");
    }
    // Two copies that were changed in the same way are equal to each other.
    EXPECT_EQ(near + equal, planted.near + planted.equal);
    EXPECT_GE(equal, planted.equal);
    EXPECT_GT(near, 50u);
}

TEST(NearDuplicates, AreTheSameWhoeverDoesTheTasksInWhateverOrder) {
    const TempDirectory directory;
    DataConfig config = plant(directory).config;
    config.holdout = {0.2, HoldoutBy::document};
    const Manifest manifest = prepare_here(config, directory.path(), directory / "alone");
    const auto expected = contents(manifest.directory);
    EXPECT_GT(manifest.shards.size(), 2u);
    for (std::uint64_t seed = 1; seed <= 3; ++seed)
        EXPECT_TRUE(prepare_shuffled(config, directory, fmt::format("shuffled{}", seed), seed).files == expected)
            << seed;
}

// A is like B and B like C, but A is little like C: all three are one cluster, of which A stays.
TEST(NearDuplicates, OfDuplicatesGoToo) {
    const TempDirectory directory;
    std::mt19937_64 random(8);
    std::vector<std::string> text = random_words(600, random);
    std::string lines;
    const std::string first = joined(text);
    for (int version = 0; version < 12; ++version) {
        lines += line(joined(text));
        for (int i = 0; i < 20; ++i) text[static_cast<std::size_t>(version * 20 + i)] = fmt::format("y{:x}", random());
    }
    EXPECT_FALSE(share_a_band(first, joined(text)));
    directory.write("a.jsonl", lines);
    DataConfig config = config_of("a.jsonl");
    config.clean.deduplicate = "near";
    const Manifest manifest = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_TRUE(tokens_of(manifest, manifest.sources[0].train) == ids_of({first}));
    EXPECT_EQ(manifest.sources[0].cleaned.dropped.at("near_duplicate"), 11u);
}

TEST(NearDuplicates, OfJapaneseTextAreFoundByItsCharacters) {
    const TempDirectory directory;
    std::mt19937_64 random(4);
    const auto text = [&] {
        std::string all;
        for (int i = 0; i < 300; ++i)
            all += fmt::format(
                "{}{}",
                std::string("\xE4") + static_cast<char>(0xB8 + random() % 6) + static_cast<char>(0x80 + random() % 64),
                i % 20 == 19 ? "。" : "");
        return all;
    };
    const std::string one = text();
    const std::string other = text();
    directory.write("a.jsonl", line(one) + line(other) + line("追記：" + one));
    DataConfig config = config_of("a.jsonl");
    config.clean.deduplicate = "near";
    const Manifest manifest = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_TRUE(tokens_of(manifest, manifest.sources[0].train) == ids_of({one, other}));
}

TEST(NearDuplicates, OfWhatIsStagedDamageIsRefused) {
    const TempDirectory directory;
    const DataConfig config = plant(directory).config;
    Preparation preparation(config, directory.path(), directory / "corpora");
    const auto staging = preparation.manifest_file().parent_path() / "staging";
    bool damaged = false;
    std::string message;
    try {
        while (const auto task = preparation.next_task()) {
            if (!damaged && task->at("kind") == "band") {
                flip_byte(staging / "unit-000001.bands", 3);
                damaged = true;
            }
            preparation.complete(task->at("id").get<std::uint64_t>(), run_task(*task));
        }
    } catch (const IoError& error) {
        message = error.what();
    }
    EXPECT_NE(message.find("unit-000001.bands': it is damaged"), std::string::npos) << message;
}

}  // namespace
}  // namespace kiban::data
