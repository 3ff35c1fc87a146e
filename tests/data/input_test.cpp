// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "data/input_stream.h"
#include "data/inputs.h"
#include "monitoring/error.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

std::string read_all(const std::filesystem::path& file, std::size_t chunk_bytes) {
    const auto input = open_input(file, codec_of(file), 0, std::filesystem::file_size(file));
    std::string text;
    std::vector<std::byte> chunk(chunk_bytes);
    while (const std::size_t got = input->read(chunk)) text.append(reinterpret_cast<const char*>(chunk.data()), got);
    return text;
}

TEST(InputStream, ReadsThroughSeveralMembersAndFrames) {
    const TempDirectory directory;
    const std::string first = words(200'000, 1);
    const std::string second = words(3'000'000, 2);
    directory.write("plain.txt", first + second);
    directory.write("a.gz", gzip(first) + gzip("") + gzip(second));
    directory.write("a.zst", zstd(first) + zstd("") + zstd(second));
    for (const char* name : {"plain.txt", "a.gz", "a.zst"}) {
        for (const std::size_t chunk : {997u, 1u << 20, 8u << 20}) {
            EXPECT_TRUE(read_all(directory / name, chunk) == first + second) << name << " in pieces of " << chunk;
        }
    }
}

TEST(InputStream, RefusesCompressedDataCutAnywhere) {
    const TempDirectory directory;
    const std::string text = words(3000, 3);
    for (const auto& [name, content] : {std::pair("a.gz", gzip(text)), std::pair("a.zst", zstd(text))}) {
        for (std::size_t bytes = 0; bytes < content.size();
             bytes += bytes < 24 || bytes + 24 > content.size() ? 1u : 23u) {
            directory.write(name, content.substr(0, bytes));
            const std::string message = message_of<DataError>([&] { read_all(directory / name, 1 << 16); });
            ASSERT_NE(message.find(name), std::string::npos) << message;
            ASSERT_NE(message.find(fmt::format("cut off at byte {}", bytes)), std::string::npos) << message;
        }
    }
}

TEST(InputStream, RefusesCompressedDataWithAFlippedByteOrSomethingBehindIt) {
    const TempDirectory directory;
    const std::string text = words(3000, 4);
    for (const auto& [name, content] : {std::pair("a.gz", gzip(text)), std::pair("a.zst", zstd(text))}) {
        int refused = 0;
        for (std::size_t offset = 10; offset < content.size(); offset += 41) {
            std::string damaged = content;
            damaged[offset] = static_cast<char>(damaged[offset] ^ 0x10);
            directory.write(name, damaged);
            try {
                EXPECT_EQ(read_all(directory / name, 1 << 16), text)
                    << name << " byte " << offset;  // a bit without meaning
            } catch (const DataError&) {
                ++refused;
            }
        }
        EXPECT_GT(refused, 30);
        directory.write(name, content + "garbage");
        EXPECT_NE(message_of<DataError>([&] { read_all(directory / name, 1 << 16); }).find("is damaged"),
                  std::string::npos);
    }
}

TEST(InputStream, RefusesAFileThatChangedSinceItWasListed) {
    const TempDirectory directory;
    directory.write("a.txt", "twelve bytes");
    EXPECT_NE(message_of<DataError>([&] { open_input(directory / "a.txt", Codec::none, 0, 11); }).find("had 11 bytes"),
              std::string::npos);
    const auto input = open_input(directory / "a.txt", Codec::none, 0, 12);
    directory.write("a.txt", "twelve bytes and more");
    std::vector<std::byte> chunk(100);
    EXPECT_NE(message_of<DataError>([&] { input->read(chunk); }).find("has 21 now"), std::string::npos);
}

std::vector<std::string> names_in(const TempDirectory& directory, const std::string& path) {
    SourceConfig source;
    source.path = path;
    std::vector<std::string> names;
    for (const InputFile& file : list_inputs(source, directory.path())) names.push_back(file.name);
    return names;
}

using Names = std::vector<std::string>;

TEST(ListInputs, SearchesDirectoriesInTheOrderOfTheirBytes) {
    const TempDirectory directory;
    for (const char* name : {"d/b.txt", "d/a/z", "d/a.txt", "d/a/y/deep", "d/Ä", "d/.hidden", "d/.git/x", "d/Z"})
        directory.write(name, "x");
    EXPECT_EQ(names_in(directory, "d"), (Names{"d/Z", "d/a.txt", "d/a/y/deep", "d/a/z", "d/b.txt", "d/Ä"}));
    EXPECT_EQ(names_in(directory, "d/"), names_in(directory, "d"));
    EXPECT_EQ(names_in(directory, "d/b.txt"), Names{"d/b.txt"});
}

TEST(ListInputs, FollowsLinksOnceAndNeverInCircles) {
    const TempDirectory directory;
    directory.write("d/a/x", "x");
    directory.write("elsewhere/y", "y");
    std::filesystem::create_directory_symlink("..", directory / "d/a/up");
    std::filesystem::create_directory_symlink(directory / "elsewhere", directory / "d/out");
    std::filesystem::create_symlink("x", directory / "d/a/z");
    std::filesystem::create_symlink("nothing", directory / "d/dangling");
    EXPECT_EQ(names_in(directory, "d"), (Names{"d/a/x", "d/out/y"}));
}

TEST(ListInputs, ExpandsGlobs) {
    const TempDirectory directory;
    for (const char* name : {"t/2.txt", "t/1.txt", "t/3.md", "u[1]/1.txt", "t/s.txt/inner"}) directory.write(name, "x");
    EXPECT_EQ(names_in(directory, "t/*.txt"), (Names{"t/1.txt", "t/2.txt", "t/s.txt/inner"}));
    EXPECT_EQ(names_in(directory, "u[1]"), Names{"u[1]/1.txt"});  // a name that is there is no pattern
    EXPECT_EQ(names_in(directory, (directory / "t/[12].txt").string()).size(), 2u);
    EXPECT_NE(message_of<ConfigError>([&] { names_in(directory, "**/x"); }).find("'**' is not supported"),
              std::string::npos);
}

TEST(ListInputs, NamesWhatIsMissingOrEmpty) {
    const TempDirectory directory;
    directory.write("empty/a", "");
    EXPECT_NE(
        message_of<DataError>([&] { names_in(directory, "no/such.txt"); }).find((directory / "no/such.txt").string()),
        std::string::npos);
    EXPECT_NE(message_of<DataError>([&] { names_in(directory, "*.md"); }).find("no file matches"), std::string::npos);
    EXPECT_NE(message_of<DataError>([&] { names_in(directory, "empty"); }).find("'empty' is empty"), std::string::npos);
}

TEST(ListInputs, KnowsFormatAndCompressionByName) {
    const TempDirectory directory;
    for (const char* name : {"a.jsonl", "b.jsonl.gz", "c.txt.zst", "d", "e.json"}) directory.write(name, "x");
    SourceConfig source;
    source.path = ".";
    const auto files = list_inputs(source, directory.path());
    ASSERT_EQ(files.size(), 5u);
    EXPECT_EQ(files[0].format, Format::jsonl);
    EXPECT_EQ(files[1].format, Format::jsonl);
    EXPECT_EQ(files[1].codec, Codec::gzip);
    EXPECT_EQ(files[2].format, Format::text);
    EXPECT_EQ(files[2].codec, Codec::zstd);
    EXPECT_EQ(files[3].format, Format::text);
    EXPECT_EQ(files[4].format, Format::text);
    source.format = "jsonl";
    for (const InputFile& file : list_inputs(source, directory.path())) EXPECT_EQ(file.format, Format::jsonl);
}

}  // namespace
}  // namespace kiban::data
