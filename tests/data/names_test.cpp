// SPDX-License-Identifier: Apache-2.0
// Names that the user lists: what is one in a text, and that a corpus has none left.
#include "data/privacy/names.h"

#include <algorithm>
#include <cctype>
#include <random>

#include "data/prepare.h"
#include "data/privacy/anonymiser.h"
#include "data/privacy/audit.h"
#include "data/privacy/detect.h"
#include "monitoring/error.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

using Values = std::vector<std::string>;

Values found(const std::string& lines, const std::string& text) {
    const NameList names(lines, "names");
    KindSet wanted;
    wanted.set(static_cast<std::size_t>(Kind::name));
    Values all;
    for (const Finding& finding : find_personal(text, wanted, &names)) {
        EXPECT_EQ(finding.kind, Kind::name);
        all.push_back(text.substr(finding.begin, finding.end - finding.begin));
    }
    return all;
}

TEST(NameList, FindsItsNamesAsTheyAreWrittenAndInCapitals) {
    const std::string lines = "Ann\n  Mary \t Jane Watson \r\n\nMary Jane\nde la Cruz\n";
    EXPECT_EQ(found(lines, "Ann, ANN's and ann"), (Values{"Ann", "ANN"}));
    EXPECT_EQ(found(lines, "Annex Joann Ann_2 Ann2 Ann-Marie (Ann)"), (Values{"Ann", "Ann", "Ann"}));
    EXPECT_EQ(found(lines, "Mary Jane Watson, Mary Jane Watsons, Mary\n  Jane"),
              (Values{"Mary Jane Watson", "Mary Jane", "Mary\n  Jane"}));
    EXPECT_EQ(found(lines, "Pedro de la Cruz. Mary J"), Values{"de la Cruz"});
    EXPECT_EQ(found(lines, "Ann"), Values{"Ann"});
    EXPECT_EQ(found(lines, ""), Values{});
}

TEST(NameList, AMarkOfTheEncodingIsNoPartOfTheFirstName) {
    EXPECT_EQ(found("\xEF\xBB\xBFMary\nPedro\n", "to Mary, from Pedro"), (Values{"Mary", "Pedro"}));
}

TEST(NameList, AsksForEndsOfWordsOnlyWhereTheScriptHasThem) {
    EXPECT_EQ(found("Zoë\nПётр\n太郎\n", "Zoë Zoëlle Пётр Петра Пётра 山田太郎です"), (Values{"Zoë", "Пётр", "太郎"}));
}

TEST(NameList, RefusesWhatIsNoListOfNames) {
    const auto message = [](const std::string& lines) {
        return message_of<ConfigError>([&] { NameList(lines, "the-list"); });
    };
    EXPECT_NE(message("Ann\nB\n").find("'the-list' has a name of 1 bytes in line 2"), std::string::npos);
    EXPECT_NE(message(std::string(257, 'x')).find("expected 2 to 256"), std::string::npos);
    EXPECT_NE(message("\n \n").find("has none"), std::string::npos);
    EXPECT_NE(message("Ann\nName\n").find("'the-list' has 'Name' in line 2"), std::string::npos);
    EXPECT_NE(message("Andr\xE9\n").find("not UTF-8"), std::string::npos);
}

// By the definition: the longest name at each place, compared one by one.
TEST(NameList, FindsWhatLookingForEachNameFinds) {
    std::mt19937_64 random(3);
    const auto letters = [&](std::size_t most) {
        std::string text;
        for (std::size_t left = 2 + random() % most; left > 0; --left) text.push_back("abAB "[random() % 5]);
        return text;
    };
    for (int round = 0; round < 300; ++round) {
        std::vector<std::string> listed;
        std::string lines;
        for (int i = 0; i < 12; ++i) {
            std::string name = letters(5);
            std::erase(name, ' ');
            if (name.size() < 2) continue;
            lines += name + "\n";
            listed.push_back(name);
            for (char& letter : name) letter = static_cast<char>(std::toupper(letter));
            listed.push_back(name);
        }
        if (listed.empty()) continue;
        const std::string text = letters(60);
        const auto is_letter = [&](std::size_t at) { return at < text.size() && text[at] != ' '; };
        Values expected;
        for (std::size_t at = 0; at < text.size();) {
            std::size_t longest = 0;
            for (const std::string& name : listed) {
                const bool there = text.compare(at, name.size(), name) == 0 && !is_letter(at + name.size());
                if (there && (at == 0 || !is_letter(at - 1))) longest = std::max(longest, name.size());
            }
            if (longest > 0) expected.push_back(text.substr(at, longest));
            at += std::max<std::size_t>(longest, 1);
        }
        ASSERT_EQ(found(lines, text), expected) << lines << "\n" << text;
    }
}

TEST(NameList, ItsNamesGoFromACorpusAndTheAuditAsksForTheList) {
    const TempDirectory directory;
    directory.write("names", "Ann Smith\nHeron\n");
    directory.write("a.jsonl", "{\"text\":\"Dear Ann\\nSmith, write to ann@b.org about HERON.\"}\n");
    DataConfig config = config_of("a.jsonl");
    config.clean.anonymise.email = "keep";
    config.clean.anonymise.name = "redact";
    EXPECT_NE(message_of<ConfigError>([&] { validate(config); }).find("names_file is empty"), std::string::npos);
    config.clean.anonymise.names_file = "names";
    const Manifest manifest = prepare_here(config, directory.path(), directory / "corpora");
    std::string text;
    for (const std::int64_t id : tokens_of(manifest, manifest.sources[0].train))
        if (id < 256) text.push_back(static_cast<char>(id));
    EXPECT_EQ(text, "Dear <NAME>, write to ann@b.org about <NAME>.");
    EXPECT_EQ(manifest.anonymised, (std::map<std::string, std::string>{{"name", "redact"}}));
    EXPECT_EQ(Manifest::load(manifest.directory / "manifest.json").names_id, manifest.names_id);
    for (const char* file : {"manifest.json", "audit.jsonl", "card.md", "croissant.json"}) {
        const std::string written = read_file(manifest.directory / file);
        EXPECT_EQ(written.find("Smith") + written.find("Heron"), std::string::npos + std::string::npos) << file;
    }
    const NameList names("Ann Smith\nHeron\n", "names");
    EXPECT_TRUE(audit_corpus(manifest, &names).residuals.empty());
    EXPECT_NE(message_of<DataError>([&] { audit_corpus(manifest); }).find(names.id()), std::string::npos);
    const NameList other("Ann Smith\n", "names");
    EXPECT_NE(message_of<DataError>([&] { audit_corpus(manifest, &other); }).find("found '" + other.id()),
              std::string::npos);
    // Another list is another corpus; a worker that reads another one than was planned stops.
    AnonymiseConfig planned = config.clean.anonymise;
    planned.names_file = (directory / "names").string();
    planned.names_id = other.id();
    EXPECT_NE(message_of<DataError>([&] { Anonymiser anonymiser(planned); }).find("expected the list"),
              std::string::npos);
}

}  // namespace
}  // namespace kiban::data
