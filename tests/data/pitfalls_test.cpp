// SPDX-License-Identifier: Apache-2.0
// What went wrong for others and no other test shows: PITFALLS.md beside this file lists all of it.
#include <ctime>
#include <thread>

#include "data/bpe/encoder.h"
#include "data/documents.h"
#include "data/order.h"
#include "data/prepare.h"
#include "data/privacy/anonymiser.h"
#include "data/shard.h"
#include "tests/data/bpe_reference.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

std::vector<std::string> documents_of(const Manifest& manifest) {
    std::vector<std::string> documents(1);
    for (const std::int64_t id : tokens_of(manifest, manifest.sources[0].train)) {
        if (id == 256) {
            documents.emplace_back();
        } else {
            documents.back().push_back(static_cast<char>(id));
        }
    }
    documents.pop_back();
    return documents;
}

// One of 3 rows is read for thousands of its epochs while the other has hardly begun.
TEST(Pitfall, P12_ASmallSourceWithALargeShareStartsAnewAndNeverRunsOut) {
    const SampleOrder order({{"a", 3, 0.999}, {"b", 1'000'000, 0.001}}, 7);
    std::vector<std::uint64_t> seen(3);
    for (std::uint64_t position = 0; position < 30'000; ++position) {
        const auto place = order.at(position);
        if (place.source == 0) ++seen.at(place.row);
    }
    for (const std::uint64_t count : seen) EXPECT_NEAR(static_cast<double>(count), 9'990, 2);
}

TEST(Pitfall, P19_ADocumentOfMoreThan65536TokensKeepsItsLengthAndItsPlace) {
    const TempDirectory directory;
    const std::vector<std::string> texts{words(70'000, 1), "short", words(200'000, 2)};
    std::string lines;
    for (const std::string& text : texts) lines += nlohmann::json{{"text", text}}.dump() + "\n";
    directory.write("a.jsonl", lines);
    const Manifest manifest = prepare_here(config_of("a.jsonl"), directory.path(), directory / "corpora");
    EXPECT_EQ(documents_of(manifest), texts);
    const Shard shard(manifest.directory / "shard-00000.h5");
    EXPECT_EQ(shard.document_start(1), 70'001u);
    EXPECT_EQ(shard.document_start(2), 70'007u);
}

TEST(Pitfall, P27_HalvesOfSurrogatePairsInJsonAreReplacementCharacters) {
    const TempDirectory directory;
    directory.write("a.jsonl", R"({"text":"\ud83d\ude00 \ud83d x"})"
                               "\n"
                               R"({"text":"\udE00\ud83d\ud83d\ude00\\ud83d \u00e9"})"
                               "\n");
    const Manifest manifest = prepare_here(config_of("a.jsonl"), directory.path(), directory / "corpora");
    EXPECT_EQ(documents_of(manifest),
              (std::vector<std::string>{"\U0001F600 \uFFFD x", "\uFFFD\uFFFD\U0001F600\\ud83d \u00e9"}));
}

// Several encoders of one model share nothing that changes.
TEST(Pitfall, P30_EncodersOfSeveralThreadsDoNotMeet) {
    std::mt19937_64 random(5);
    const auto model = std::make_shared<const BpeModel>(random_definition(random, 300, kGpt2Pattern));
    std::vector<std::string> texts;
    for (int i = 0; i < 400; ++i) texts.push_back(random_text(random, 1 + random() % 200, 20));
    const auto encode_all = [&] {
        BpeEncoder encoder(model);
        std::vector<std::vector<std::uint32_t>> all;
        for (const std::string& text : texts) {
            std::vector<std::uint32_t> ids(text.size() + BpeEncoder::kSlack);
            ids.resize(encoder.encode(text, text.size(), ids.data()));
            all.push_back(std::move(ids));
        }
        return all;
    };
    const auto expected = encode_all();
    std::vector<std::vector<std::vector<std::uint32_t>>> made(4);
    {
        std::vector<std::jthread> threads;
        for (auto& mine : made) threads.emplace_back([&] { mine = encode_all(); });
    }
    for (const auto& mine : made) EXPECT_EQ(mine, expected);
}

TEST(Pitfall, P31_ATextOfMillionsOfCharactersIsAnonymisedInTimeThatGrowsWithIt) {
    AnonymiseConfig config;
    config.all = "redact";
    const Anonymiser anonymiser(config);
    const auto seconds = [&](std::size_t sentences) {
        std::string text;
        for (std::size_t i = 0; i < sentences; ++i) text += "write to bob@example.org or 090-1234-5678, aaaaaa ";
        std::map<std::string, Redaction> redacted;
        timespec begin{};
        timespec end{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
        EXPECT_FALSE(anonymiser.apply(text, redacted));
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
        EXPECT_EQ(redacted.at("email").values, sentences);
        EXPECT_EQ(text.find("bob"), std::string::npos);
        return static_cast<double>(end.tv_sec - begin.tv_sec) + 1e-9 * static_cast<double>(end.tv_nsec - begin.tv_nsec);
    };
    const double small = std::min(seconds(2'000), seconds(2'000));
    EXPECT_LT(seconds(100'000), 50 * 10 * small) << "quadratic: 2500 times";
}

}  // namespace
}  // namespace kiban::data
