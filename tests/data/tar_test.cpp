// SPDX-License-Identifier: Apache-2.0
// Archives as the machine's own tar writes them, read as the files that went in.
#include "data/tar.h"

#include <cstdlib>

#include "data/corpus_identity.h"
#include "data/digest.h"
#include "data/documents.h"
#include "data/prepare.h"
#include "monitoring/error.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

class Collector : public DocumentSink {
  public:
    void begin(const Piece&, std::uint64_t offset) override {
        offsets.push_back(offset);
        documents.emplace_back();
    }
    void add(std::span<const std::byte> text) override {
        documents.back().append(reinterpret_cast<const char*>(text.data()), text.size());
    }
    void end(bool complete) override { EXPECT_TRUE(complete); }

    std::vector<std::uint64_t> offsets;
    std::vector<std::string> documents;
};

Collector read(const TempDirectory& directory, const std::string& path, const std::string& format = "auto") {
    SourceConfig source;
    source.path = path;
    source.format = format;
    Collector collector;
    for (const Unit& unit : plan_units(list_inputs(source, directory.path()), source, 0, 1000, 0)) {
        for (const Piece& piece : unit.pieces) read_documents(piece_from_json(to_json(piece)), collector);
    }
    return collector;
}

// `tar OPTIONS` over everything in t/, in the order of names.
std::string tar_of(const TempDirectory& directory, const std::string& options) {
    const std::string command =
        fmt::format("cd '{0}' && tar {1} --sort=name -C t -cf '{0}/made.tar' .", directory.path().string(), options);
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
    return read_file(directory / "made.tar");
}

const std::string kLong = std::string(90, 'd') + "/" + std::string(120, 'e') + "/" + std::string(100, 'f');

void write_files(const TempDirectory& directory) {
    directory.write("t/a.txt", words(1000, 1));
    directory.write("t/b.jsonl", "{\"text\":\"one\"}\n\n{\"text\":\"two\"}");
    directory.write("t/c.txt.gz", gzip(words(70'000, 2)));
    directory.write("t/d.jsonl.zst", zstd("{\"text\":\"three\"}\n"));
    directory.write("t/empty", "");
    directory.write("t/" + kLong, words(512, 3));
    directory.write("t/.hidden", "not read");
    directory.write("t/.git/x", "not read");
    directory.write("t/z", words(3'000'000, 4));
    std::filesystem::create_symlink("a.txt", directory / "t/link");
}

TEST(Tar, GivesTheFilesThatWentIntoIt) {
    const TempDirectory directory;
    write_files(directory);
    const std::vector<std::string> expected{words(1000, 1), "one",         "two", words(70'000, 2),
                                            "three",        words(512, 3), "",    words(3'000'000, 4)};
    for (const char* format : {"--format=pax", "--format=gnu"}) {
        const std::string archive = tar_of(directory, format);
        directory.write("x/plain.tar", archive);
        directory.write("y/packed.tar.gz", gzip(archive));
        directory.write("y/packed.tar.zst", zstd(archive));
        directory.write("y/packed.tgz", gzip(archive));
        const Collector plain = read(directory, "x");
        EXPECT_TRUE(plain.documents == expected) << format;
        for (std::size_t i : {0u, 5u, 7u})
            EXPECT_EQ(archive.substr(plain.offsets[i], expected[i].size()), expected[i]) << "document " << i;
        EXPECT_EQ(archive.substr(plain.offsets[2], 14), "{\"text\":\"two\"}");
        for (const char* name : {"y/packed.tar.gz", "y/packed.tar.zst", "y/packed.tgz"})
            EXPECT_TRUE(read(directory, name).documents == expected) << name << " " << format;
    }
}

TEST(Tar, MembersAreReadInTheFormatThatTheSourceNames) {
    const TempDirectory directory;
    directory.write("t/lines.jsonl", "{\"text\":\"one\"}\n");
    directory.write("made.tar", tar_of(directory, "--format=ustar"));
    EXPECT_EQ(read(directory, "made.tar", "text").documents, std::vector<std::string>{"{\"text\":\"one\"}\n"});
    directory.write("t/lines.jsonl", "{\"text\":\"one\"}\n\n{\"text\":1}\n");
    for (const char* packed : {"made.tar", "made.tar.gz"}) {
        const std::string archive = tar_of(directory, "--format=ustar");
        directory.write(packed, packed == std::string("made.tar") ? archive : gzip(archive));
        const std::string message = message_of<DataError>([&] { read(directory, packed); });
        EXPECT_NE(message.find(fmt::format("{}: ./lines.jsonl' line 3: expected field 'text' to be a string",
                                           (directory / packed).string())),
                  std::string::npos)
            << message;
    }
}

TEST(Tar, CutOffAnywhereIsRefused) {
    const TempDirectory directory;
    directory.write("t/a.txt", words(700, 1));
    directory.write("t/b.txt", words(512, 2));
    const std::string archive = tar_of(directory, "--format=pax");
    std::size_t end = archive.find_last_not_of('\0') / 512 * 512 + 512;  // the end mark begins here
    for (std::size_t bytes = 1; bytes < end + 512; bytes += 171) {
        directory.write("cut.tar", archive.substr(0, bytes));
        const std::string message = message_of<DataError>([&] { read(directory, "cut.tar"); });
        ASSERT_NE(message.find("the archive is cut off"), std::string::npos) << bytes << ": " << message;
    }
    directory.write("cut.tar", archive + "more");
    EXPECT_NE(message_of<DataError>([&] { read(directory, "cut.tar"); }).find("something follows the end"),
              std::string::npos);
}

TEST(Tar, ADamagedHeaderIsRefused) {
    const TempDirectory directory;
    directory.write("t/a.txt", words(700, 1));
    const std::string archive = tar_of(directory, "--format=ustar");
    const std::size_t header = archive.find("./a.txt");
    for (std::size_t byte = 0; byte < 512; byte += 7) {
        std::string damaged = archive;
        damaged[header + byte] = static_cast<char>(damaged[header + byte] ^ 0x41);
        directory.write("damaged.tar", damaged);
        EXPECT_NE(message_of<DataError>([&] { read(directory, "damaged.tar"); }).find("damaged.tar"), std::string::npos)
            << byte;
    }
}

TEST(Tar, ASparseFileIsRefusedByName) {
    const TempDirectory directory;
    directory.write("t/a", "x");
    std::filesystem::resize_file(directory / "t/a", 1 << 20);
    for (const char* format : {"-S --format=gnu", "-S --format=pax"}) {
        directory.write("sparse.tar", tar_of(directory, format));
        EXPECT_NE(message_of<DataError>([&] { read(directory, "sparse.tar"); }).find("sparse"), std::string::npos);
    }
}

TEST(Tar, AnArchiveAndItsFilesMakeTheSameDocuments) {
    const TempDirectory directory;
    directory.write("t/a.txt", words(90'000, 1));
    directory.write("t/b/c.jsonl", "{\"text\":\"one\"}\n{\"text\":\"two\"}\n");
    directory.write("all.tar", tar_of(directory, "--format=pax"));
    DataConfig config = config_of("t");
    config.unit_bytes = 70'000;
    const Manifest files = prepare_here(config, directory.path(), directory / "corpora");
    config.sources[0].path = "all.tar";
    const Manifest archive = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_TRUE(tokens_of(files, files.sources[0].train) == tokens_of(archive, archive.sources[0].train));
    EXPECT_EQ(archive.sources[0].documents, 3u);
}

TEST(Sources, AreAccountedForInTheManifest) {
    const TempDirectory directory;
    directory.write("a.txt", words(1000, 1));
    DataConfig config = config_of("a.txt");
    const Manifest plain = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_NE(plain.to_json().find("\"version\":1"), std::string::npos);
    config.sources[0].name = "letters";
    config.sources[0].licence = "CC-BY-4.0";
    config.sources[0].legal_basis = "contract";
    config.sources[0].retain_until = "2031-12-31";
    config.sources[0].sensitivity = "public";
    const Manifest told = prepare_here(config, directory.path(), directory / "corpora");
    EXPECT_EQ(told.sources[0].name, "letters");
    EXPECT_EQ(told.sources[0].account, (SourceAccount{"CC-BY-4.0", "contract", "2031-12-31", "public"}));
    EXPECT_EQ(told.sources[0].id, plain.sources[0].id) << "what is said of a text does not change its order";
    EXPECT_NE(told.digest(), plain.digest());
    EXPECT_NE(told.to_json().find("\"version\":3"), std::string::npos);
}

TEST(Tar, WithinATarIsRefused) {
    for (const char* name : {"t/inner.tar", "t/inner.tgz", "t/inner.tar.gz"}) {
        const TempDirectory directory;
        directory.write(name, "whatever it holds");
        tar_of(directory, "--format=pax");
        EXPECT_NE(message_of<DataError>([&] { read(directory, "made.tar"); }).find("an archive within an archive"),
                  std::string::npos)
            << name;
    }
}

// What was made of an archive when it was taken for one text is not found again under the same name.
TEST(Tar, IsPartOfTheNameOfACorpus) {
    const TempDirectory directory;
    directory.write("t/a.txt", words(1000, 1));
    tar_of(directory, "--format=pax");
    const auto corpus = [&](const std::string& file) {
        return Preparation(config_of(file), directory.path(), directory / "corpora").manifest_file();
    };
    const auto as_archive = corpus("made.tar");
    EXPECT_EQ(as_archive, corpus("made.tar"));
    nlohmann::json identity = corpus_identity(config_of("made.tar"), Tokenizer("bytes"));
    const auto status = list_inputs(config_of("made.tar").sources[0], directory.path()).at(0);
    const nlohmann::json before = {{"config", identity},
                                   {"inputs", {{status.path.string(), status.bytes, status.modified_ns}}}};
    EXPECT_NE(as_archive.parent_path().filename().string(), sha256(before.dump()).substr(0, 16));
}

TEST(Sources, AreNotUsedAfterTheirLastDay) {
    DataConfig config = config_of("a.txt");
    config.sources[0].retain_until = "2026-02-28";
    check_retention(config, "2026-02-28");
    const std::string message = message_of<ConfigError>([&] { check_retention(config, "2026-03-01"); });
    EXPECT_NE(message.find("'a.txt' on 2026-03-01: data.sources retain_until is 2026-02-28"), std::string::npos)
        << message;
    for (const char* date : {"2026-02-29", "2026-2-28", "28.02.2026", "2026-13-01", "2026-02-28x", "-026-02-28"}) {
        config.sources[0].retain_until = date;
        EXPECT_NE(message_of<ConfigError>([&] { validate(config); }).find("expected a date"), std::string::npos);
    }
    config.sources[0].retain_until = "";
    config.sources[0].sensitivity = "secret";
    EXPECT_NE(message_of<ConfigError>([&] { validate(config); }).find("expected 'public' or 'internal'"),
              std::string::npos);
}

}  // namespace
}  // namespace kiban::data
