// SPDX-License-Identifier: Apache-2.0
// What a corpus says of itself to people and to other programs.
#include "data/card.h"

#include <fmt/format.h>

#include "data/digest.h"
#include "data/prepare.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

Manifest described(const TempDirectory& directory) {
    directory.write("a.jsonl",
                    "{\"text\":\"mail bob@example.org\"}\n{\"text\":\"x\"}\n{\"text\":\"mail bob@example.org\"}\n");
    directory.write("b.txt", words(3000, 1));
    directory.write("eval.txt", "one two three four five six seven eight nine ten eleven twelve thirteen fourteen");
    DataConfig config = config_of("a.jsonl");
    config.sources[0].name = "letters | of ours";
    config.sources[0].licence = "CC-BY-4.0";
    config.sources[0].legal_basis = "consent";
    config.sources[0].retain_until = "2030-12-31";
    config.sources[0].sensitivity = "internal";
    config.sources[0].max_bytes = 1000;
    config.sources.emplace_back().path = "b.txt";
    config.clean.anonymise.all = "redact";
    config.clean.deduplicate = "exact";
    config.clean.contamination.files = "eval.txt";
    return prepare_here(config, directory.path(), directory / "corpora");
}

TEST(DataCard, StatesSourcesTermsAndWhatWasTakenOut) {
    const TempDirectory directory;
    const Manifest manifest = described(directory);
    const std::string card = read_file(manifest.directory / "card.md");
    EXPECT_EQ(card, data_card(manifest));
    for (const char* part : {"| letters \\| of ours | CC-BY-4.0 | consent | 2030-12-31 | internal | 2 |",
                             "| b.txt | not stated | not stated | no end | not stated | 1 | 3001 | 0 |",
                             "* left out, duplicate: 1 documents", "* email, redact: 2 values in 2 documents",
                             "A run of 13 words shared with one of these: the document was left out.",
                             "* eval.txt: 1 texts (0 too short to be found)"})
        EXPECT_NE(card.find(part), std::string::npos) << part << " in\n" << card;
    EXPECT_EQ(card.find("bob"), std::string::npos);
    EXPECT_NE(card.find(manifest.digest()), std::string::npos);
}

TEST(Croissant, ListsEveryShardWithItsDigestAndWhereTheTextCameFrom) {
    const TempDirectory directory;
    const Manifest manifest = described(directory);
    const auto object = nlohmann::json::parse(read_file(manifest.directory / "croissant.json"));
    EXPECT_EQ(object.at("@type"), "sc:Dataset");
    EXPECT_EQ(object.at("conformsTo").at(0), "http://mlcommons.org/croissant/1.1");
    EXPECT_EQ(object.at("version"), manifest.digest());
    ASSERT_EQ(object.at("distribution").size(), manifest.shards.size());
    for (const auto& file : object.at("distribution")) {
        const std::filesystem::path shard = manifest.directory / file.at("contentUrl").get<std::string>();
        EXPECT_EQ(file.at("sha256"), sha256_of_file(shard));
        EXPECT_EQ(file.at("contentSize"), fmt::format("{} B", std::filesystem::file_size(shard)));
    }
    const auto& sources = object.at("prov:wasDerivedFrom");
    ASSERT_EQ(sources.size(), 2u);
    EXPECT_EQ(sources.at(0).at("license"), "CC-BY-4.0");
    EXPECT_EQ(sources.at(0).at("expires"), "2030-12-31");
    EXPECT_EQ(object.at("license"), nlohmann::json::array({"CC-BY-4.0"}));
    EXPECT_EQ(object.at("rai:dataPreprocessingProtocol"),
              "Of 4 documents 3 were kept and encoded with the tokenizer 'bytes' (257 tokens).");
}

}  // namespace
}  // namespace kiban::data
