// SPDX-License-Identifier: Apache-2.0
// Corpora that are anonymised: planted values of every kind, and what this machine's own documentation holds.
#include <regex.h>

#include <algorithm>
#include <fstream>

#include "data/prepare.h"
#include "data/privacy/audit.h"
#include "data/privacy/audit_log.h"
#include "data/privacy/detect.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/data/files.h"
#include "tests/data/planter.h"
#include "tests/data/shuffled.h"

namespace kiban::data {
namespace {

struct Score {
    std::size_t planted = 0;
    std::size_t found = 0;
    std::size_t right = 0;
};

TEST(FindPersonal, FindsNearlyAllOf20000PlantedValuesAndNearlyNothingElse) {
    Planter planter(11);
    std::array<Score, kKinds> scores;
    const NameList names(Planter::names(), "planted");
    for (int document = 0; document < 2'000; ++document) {
        std::string text;
        std::vector<Finding> planted;
        for (std::size_t i = 0; i < kKinds; ++i) {
            const auto kind = static_cast<Kind>(i);
            const Planter::Value value = planter.value(kind);
            text += planter.sentence() + planter.decoy() + ", " + value.before;
            planted.push_back({text.size(), text.size() + value.text.size(), kind});
            text += value.text + (planter.below(2) == 0 ? ". " : "、");
        }
        const auto found = find_personal(text, all_kinds(), &names);
        for (const Finding& value : planted) {
            Score& score = scores[static_cast<std::size_t>(value.kind)];
            ++score.planted;
            score.right += std::ranges::find(found, value) != found.end() ? 1U : 0U;
        }
        for (const Finding& value : found) ++scores[static_cast<std::size_t>(value.kind)].found;
    }
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
        const Score& score = scores[kind];
        EXPECT_EQ(score.planted, 2'000u);
        EXPECT_GE(static_cast<double>(score.right), 0.98 * static_cast<double>(score.planted))
            << kKindNames[kind] << " recall";
        EXPECT_GE(static_cast<double>(score.right), 0.98 * static_cast<double>(score.found))
            << kKindNames[kind] << " precision";
    }
}

// Lines of JSONL with planted values, some of them escaped; the values in plain form.
std::vector<std::string> write_planted(const TempDirectory& directory, std::size_t documents) {
    Planter planter(5);
    std::vector<std::string> values;
    std::string lines;
    for (std::size_t i = 0; i < documents; ++i) {
        std::string text;
        for (std::size_t kind = 0; kind < kKinds; ++kind) {
            const Planter::Value value = planter.value(static_cast<Kind>(kind));
            text += planter.sentence() + value.before + value.text + " " + planter.decoy() + " ";
            values.push_back(value.text);
        }
        std::string line = nlohmann::json{{"text", text}}.dump(-1, ' ', /*ensure_ascii=*/i % 2 == 0);
        for (std::size_t at = line.find('@'); i % 3 == 0 && at != std::string::npos; at = line.find('@'))
            line.replace(at, 1, "\\u0040");
        lines += line + "\n";
    }
    directory.write("planted.jsonl", lines);
    directory.write("names", Planter::names());
    return values;
}

DataConfig anonymising(const std::string& path, const std::string& op) {
    DataConfig config = config_of(path);
    config.unit_bytes = 10'000;
    config.shard_tokens = 40'000;
    config.clean.anonymise.all = op;
    return config;
}

std::string text_of(const Manifest& manifest) {
    std::string text;
    for (const ManifestSource& source : manifest.sources) {
        for (const std::int64_t id : tokens_of(manifest, source.train))
            text.push_back(id == 256 ? '\n' : static_cast<char>(id));
    }
    return text;
}

TEST(AnonymisedCorpus, HoldsNoPlantedValueAcrossUnitsAndEscapes) {
    const TempDirectory directory;
    const auto values = write_planted(directory, 150);
    directory.write("key", std::string(40, 'k'));
    std::filesystem::permissions(directory / "key", std::filesystem::perms::owner_read);
    const NameList names(Planter::names(), "planted");
    for (const char* op : {"redact", "mask", "pseudonym", "encrypt"}) {
        DataConfig config = anonymising("planted.jsonl", op);
        config.clean.anonymise.key_file = "key";
        config.clean.anonymise.names_file = "names";
        config.clean.anonymise.approved_by = "the data protection officer";
        const Manifest manifest = prepare_here(config, directory.path(), directory / op);
        const std::string text = text_of(manifest);
        std::size_t left = 0;
        for (const std::string& value : values) left += text.find(value) != std::string::npos ? 1U : 0U;
        EXPECT_EQ(left, 0u) << op;
        const AuditReport report = audit_corpus(manifest, &names);
        EXPECT_TRUE(report.residuals.empty()) << op;
        EXPECT_EQ(report.documents, 150u);
        EXPECT_EQ(report.text_bytes, text.size() - 150);
        EXPECT_EQ(report.log_lines, manifest.audit.lines);
        for (const std::string_view kind : kKindNames) {
            const Redaction& redaction = manifest.sources[0].cleaned.redacted.at(std::string(kind));
            EXPECT_EQ(redaction.documents, 150u) << kind;
            EXPECT_GE(redaction.values, 150u) << kind;
        }
        const std::string log = read_file(manifest.directory / "audit.jsonl");
        for (const std::string& value : values) ASSERT_EQ(log.find(value), std::string::npos);
    }
}

TEST(AnonymisedCorpus, IsTheSameBytesWhoeverDoesTheTasks) {
    const TempDirectory directory;
    write_planted(directory, 120);
    directory.write("key", std::string(40, 'k'));
    DataConfig config = anonymising("planted.jsonl", "pseudonym");
    config.clean.anonymise.key_file = "key";
    config.clean.anonymise.ip = "keep";
    config.clean.deduplicate = "exact";
    config.clean.anonymise.mac = "mask";
    const Manifest manifest = prepare_here(config, directory.path(), directory / "alone");
    const auto expected = contents(manifest.directory);
    EXPECT_TRUE(std::ranges::any_of(expected, [](const auto& file) { return file.first == "audit.jsonl"; }));
    for (std::uint64_t seed = 1; seed <= 3; ++seed)
        EXPECT_TRUE(prepare_shuffled(config, directory, fmt::format("shuffled{}", seed), seed).files == expected)
            << seed;
}

TEST(AnonymisedCorpus, DocumentsAreDroppedWhereThatIsAsked) {
    const TempDirectory directory;
    directory.write("a.jsonl",
                    "{\"text\":\"card 4111111111111111\"}\n{\"text\":\"mail a@b.org\"}\n{\"text\":\"nothing\"}\n");
    DataConfig config = anonymising("a.jsonl", "redact");
    config.clean.anonymise.card = "drop";
    const Manifest manifest = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_EQ(text_of(manifest), "mail <EMAIL>\nnothing\n");
    EXPECT_EQ(manifest.sources[0].cleaned.dropped.at("personal_card"), 1u);
    const auto lines = verified_audit_log(read_file(manifest.directory / "audit.jsonl"), manifest.audit, "log");
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_EQ(lines[0].at("kind"), "email");
    EXPECT_EQ(lines[0].at("ids").size(), 1u);
    EXPECT_EQ(lines[1].at("operator"), "drop");
    EXPECT_FALSE(lines[1].contains("ids"));
}

TEST(AnonymisedCorpus, WhatIsNoTextIsLeftOut) {
    const TempDirectory directory;
    std::string wide = "\xFF\xFE";
    for (const char letter : std::string("mail a@b.org")) wide += {letter, '\0'};
    directory.write("t/a.txt", wide);
    directory.write("t/b.txt", "mail c@d.org");
    const Manifest manifest = prepare_here(anonymising("t", "redact"), directory.path(), directory / "corpora");
    EXPECT_EQ(text_of(manifest), "mail <EMAIL>\n");
    EXPECT_EQ(manifest.sources[0].cleaned.dropped.at("anonymiser_failed"), 1u);
}

TEST(AnonymisedCorpus, WithATrainedTokenizerPassesItsAudit) {
    const TempDirectory directory;
    write_planted(directory, 60);
    DataConfig config = anonymising("planted.jsonl", "redact");
    config.clean.anonymise.secret = "keep";
    config.tokenizer = "bpe:300";
    const AuditReport report = audit_corpus(prepare_here(config, directory.path(), directory / "corpora"));
    EXPECT_EQ(report.documents, 60u);
    EXPECT_TRUE(report.residuals.empty());
    EXPECT_EQ(report.kept.at("planted.jsonl").at("secret"), 60u);
}

// Of a corpus of which nothing had to go only the files are compared.
TEST(AnonymisedCorpus, IsLookedAtByTheAuditOnlyWhereSomethingHadToGo) {
    const TempDirectory directory;
    write_planted(directory, 5);
    const Manifest manifest = prepare_here(config_of("planted.jsonl"), directory.path(), directory / "corpora");
    const AuditReport report = audit_corpus(manifest);
    EXPECT_EQ(report.shards, manifest.shards.size());
    EXPECT_EQ(report.documents, 0u);
}

TEST(AnonymisedCorpus, KeepsItsPseudonymsWhenASourceIsAppended) {
    const TempDirectory directory;
    write_planted(directory, 40);
    directory.write("key", std::string(40, 'k'));
    std::string more;
    for (int i = 0; i < 30; ++i) more += fmt::format("{{\"text\":\"one more, number {}\"}}\n", i);
    directory.write("b.jsonl", more);
    DataConfig config = anonymising("planted.jsonl", "pseudonym");
    config.clean.anonymise.key_file = "key";
    config.holdout = {0.2, HoldoutBy::document};
    const Manifest before = prepare_here(config, directory.path(), directory / "before");
    config.sources.emplace_back().path = "b.jsonl";
    const Manifest after = prepare_here(config, directory.path(), directory / "after");
    EXPECT_EQ(tokens_of(after, after.sources[0].train), tokens_of(before, before.sources[0].train));
    EXPECT_EQ(tokens_of(after, after.sources[0].holdout), tokens_of(before, before.sources[0].holdout));
}

TEST(AnonymisedCorpus, AnyFlippedByteIsFoundByTheAudit) {
    const TempDirectory directory;
    write_planted(directory, 30);
    const Manifest manifest =
        prepare_here(anonymising("planted.jsonl", "redact"), directory.path(), directory / "corpora");
    const auto refused = [&](const std::string& file, std::uint64_t offset) {
        flip_byte(manifest.directory / file, offset);
        bool found = false;
        try {
            audit_corpus(Manifest::load(manifest.directory / "manifest.json"));
        } catch (const Error&) {
            found = true;
        }
        flip_byte(manifest.directory / file, offset);
        return found;
    };
    std::size_t missed = 0;
    for (const char* file : {"audit.jsonl", "inputs.jsonl", "shard-00000.h5"}) {
        const auto bytes = std::filesystem::file_size(manifest.directory / file);
        for (std::uint64_t offset = 0; offset < bytes; offset += 1 + bytes / 23)
            missed += refused(file, offset) ? 0U : 1U;
    }
    EXPECT_EQ(missed, 0u);
    EXPECT_TRUE(audit_corpus(manifest).residuals.empty());
    // Lines that are cut off, or put in another order.
    std::string log = read_file(manifest.directory / "audit.jsonl");
    EXPECT_THROW(verified_audit_log(log.substr(0, log.rfind('\n', log.size() - 2) + 1), manifest.audit, "log"),
                 DataError);
}

TEST(AnonymisedCorpus, InternalSourcesNeedAPolicyAndAQuota) {
    const TempDirectory directory;
    directory.write("a.txt", words(1000, 1));
    DataConfig config = config_of("a.txt");
    config.sources[0].sensitivity = "internal";
    EXPECT_NE(message_of<ConfigError>([&] { validate(config); }).find("data.sources.0 is internal, but its secrets"),
              std::string::npos);
    config.clean.anonymise.all = "redact";
    config.clean.anonymise.mac = "keep";
    EXPECT_NE(message_of<ConfigError>([&] { validate(config); }).find("its macs would be kept"), std::string::npos);
    config.clean.anonymise.mac = "";
    EXPECT_NE(message_of<ConfigError>([&] { validate(config); }).find("expected max_bytes"), std::string::npos);
    config.sources[0].max_bytes = 999;
    EXPECT_NE(message_of<DataError>([&] {
                  prepare_here(config, directory.path(), directory / "c");
              }).find("has 1000 bytes, expected at most its max_bytes, 999"),
              std::string::npos);
    config.sources[0].max_bytes = 1000;
    EXPECT_EQ(prepare_here(config, directory.path(), directory / "c").sources[0].account.sensitivity, "internal");
    config.clean.anonymise.all = "pseudonym";
    EXPECT_NE(message_of<ConfigError>([&] { validate(config); }).find("key_file is empty"), std::string::npos);
}

// By another program's idea of an e-mail address.
std::size_t addresses_in(const std::string& text) {
    regex_t pattern;
    EXPECT_EQ(::regcomp(&pattern, "[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)*\\.[A-Za-z]{2,}", REG_EXTENDED),
              0);
    std::size_t count = 0;
    regmatch_t match;
    for (const char* at = text.c_str(); ::regexec(&pattern, at, 1, &match, 0) == 0; at += match.rm_eo) ++count;
    ::regfree(&pattern);
    return count;
}

TEST(AnonymisedCorpus, OfThisMachinesCopyrightFilesHoldsNoAddress) {
    const TempDirectory directory;
    std::filesystem::create_directories(directory / "t");
    std::string all;
    int files = 0;
    for (const auto& package : std::filesystem::directory_iterator("/usr/share/doc")) {
        const auto file = package.path() / "copyright";
        std::error_code ignored;
        if (!std::filesystem::is_regular_file(file, ignored)) continue;
        directory.write("t/" + package.path().filename().string(), read_file(file));
        all += read_file(file);
        if (++files == 250) break;
    }
    ASSERT_GT(files, 20) << "no documentation is installed here";
    ASSERT_GT(addresses_in(all), 100u);
    DataConfig config = anonymising("t", "redact");
    config.clean.normalise = "text";
    const Manifest manifest = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_EQ(addresses_in(text_of(manifest)), 0u);
    EXPECT_TRUE(audit_corpus(manifest).residuals.empty());
    EXPECT_GT(manifest.sources[0].cleaned.redacted.at("email").values, 100u);
}

}  // namespace
}  // namespace kiban::data
