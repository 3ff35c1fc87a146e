// SPDX-License-Identifier: Apache-2.0
#include "monitoring/file.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <csignal>

#include "monitoring/error.h"
#include "tests/monitoring/process.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {
namespace {

using Names = std::vector<std::string>;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

unsigned mode_of(const std::filesystem::path& name) {
    struct stat status {};
    EXPECT_EQ(::stat(name.c_str(), &status), 0);
    return status.st_mode & 0777u;
}

TEST(File, ReadsBackWhatItWroteAtAnyOffset) {
    const TempDirectory directory;
    File file = File::create(directory / "a");
    file.append(bytes_of("hello world"));
    file.write_at(6, bytes_of("there"));
    std::array<std::byte, 5> part{};
    file.read_at(6, part);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(part.data()), part.size()), "there");
    EXPECT_EQ(file.size(), 11u);
    file.truncate(5);
    file.sync();
    file.close();
    EXPECT_EQ(slurp(directory / "a"), "hello");
}

TEST(File, RefusesToReadPastTheEndAndSaysWhereThatIs) {
    const TempDirectory directory;
    spill(directory / "a", "12345");
    const File file = File::open_read(directory / "a");
    std::array<std::byte, 4> part{};
    const std::string message = message_of<IoError>([&] { file.read_at(3, part); });
    EXPECT_TRUE(contains(message, (directory / "a").string())) << message;
    EXPECT_TRUE(contains(message, "it ends at 5 bytes")) << message;
}

TEST(File, CreatesOnlyWhatIsNotThere) {
    const TempDirectory directory;
    spill(directory / "a", "mine");
    const std::string message = message_of<IoError>([&] { File::create(directory / "a"); });
    EXPECT_EQ(message, "cannot create '" + (directory / "a").string() + "': File exists");
    EXPECT_EQ(slurp(directory / "a"), "mine");
}

TEST(File, NamesAFileThatIsMissing) {
    const TempDirectory directory;
    const auto missing = directory / "missing";
    const std::string reason = fmt::format("'{}': No such file or directory", missing.string());
    EXPECT_EQ(message_of<IoError>([&] { read_text(missing); }), "cannot read " + reason);
    EXPECT_EQ(message_of<IoError>([&] { File::open_read(missing); }), "cannot read " + reason);
    EXPECT_EQ(message_of<IoError>([&] { File::open_write(missing); }), "cannot open for writing " + reason);
    EXPECT_EQ(read_text_if_exists(missing), std::nullopt);
}

TEST(File, APrivateFileCanBeReadByItsOwnerAlone) {
    const TempDirectory directory;
    publish_private(directory / "key", "secret");
    EXPECT_EQ(mode_of(directory / "key"), 0600u);
    publish(directory / "open", "text");
    EXPECT_EQ(mode_of(directory / "open") & 0600u, 0600u);
    EXPECT_EQ(message_of<IoError>([&] { File::create_private(directory / "key"); }),
              "cannot create '" + (directory / "key").string() + "': File exists");
}

TEST(Publish, ReplacesTheWholeContentAndLeavesNoOtherFile) {
    const TempDirectory directory;
    publish(directory / "state", "a longer first version");
    publish(directory / "state", "second");
    EXPECT_EQ(read_text(directory / "state"), "second");
    EXPECT_EQ(directory.entries(), Names{"state"});
}

TEST(Publish, IntoAMissingDirectoryNamesIt) {
    const TempDirectory directory;
    const std::string message = message_of<IoError>([&] { publish(directory / "no/state", "x"); });
    EXPECT_TRUE(contains(message, (directory / "no").string())) << message;
    EXPECT_TRUE(contains(message, "No such file or directory")) << message;
}

TEST(Publish, KilledAtAnyOfItsPointsLeavesTheOldContentOrTheNew) {
    // file.publish is passed twice: before the content is durable and before it is renamed.
    for (const char* fault : {"file.write=kill", "file.publish=kill", "file.close=kill", "file.publish=kill@2"}) {
        const TempDirectory directory;
        spill(directory / "state", "old");
        const Finished child = run_child({"publish", directory / "state", "new"}, {{"KIBAN_FAULT", fault}});
        EXPECT_EQ(child.signal, SIGKILL) << fault;
        EXPECT_EQ(slurp(directory / "state"), "old") << fault;
        publish(directory / "state", "after");
        EXPECT_EQ(slurp(directory / "state"), "after") << fault;
    }
}

TEST(Publish, AnErrorOnTheWayLeavesTheOldContentAndNothingElse) {
    for (const char* fault : {"file.write=enospc", "file.publish=enospc", "file.close=eio", "file.publish=eio@2"}) {
        const TempDirectory directory;
        spill(directory / "state", "old");
        const Finished child = run_child({"publish", directory / "state", "new"}, {{"KIBAN_FAULT", fault}});
        EXPECT_EQ(child.exit_code, kExitIo) << fault;
        EXPECT_TRUE(contains(child.output, "(injected)")) << child.output;
        EXPECT_EQ(slurp(directory / "state"), "old") << fault;
        EXPECT_EQ(directory.entries(), Names{"state"}) << fault;
    }
}

TEST(Publish, OnADiskThatIsReallyFullLeavesTheOldContentAndNothingElse) {
    const TempDirectory directory;
    const Finished child = run_child({"publish-on-small-disk", directory.path()});
    EXPECT_EQ(child.exit_code, 0) << child.output;
    EXPECT_TRUE(contains(child.output, "error: cannot write 262144 bytes to")) << child.output;
    const bool tmpfs = contains(child.output, "disk: tmpfs");
    EXPECT_TRUE(contains(child.output, tmpfs ? "No space left on device (" : "File too large")) << child.output;
    const auto first = child.output.find("left: ");
    ASSERT_NE(first, std::string::npos) << child.output;
    EXPECT_EQ(child.output.substr(first), "left: state = old\n");
}

TEST(Preallocate, OnAFullDiskSaysHowManyBytesWereWanted) {
    const TempDirectory directory;
    const Finished child = run_child({"preallocate-on-small-disk", directory.path()});
    EXPECT_EQ(child.exit_code, kExitIo);
    EXPECT_TRUE(contains(child.output, "cannot reserve 262144 bytes for '" + (directory / "shard").string()))
        << child.output;
    EXPECT_TRUE(contains(child.output, "bytes free)")) << child.output;
}

TEST(Preallocate, ReservesTheSizeItWasAskedFor) {
    const TempDirectory directory;
    File file = File::create(directory / "a");
    file.preallocate(0);
    EXPECT_EQ(file.size(), 0u);
    file.preallocate(5000);
    EXPECT_EQ(file.size(), 5000u);
}

TEST(RenameDurably, MovesBetweenDirectoriesAndNeverOverwrites) {
    const TempDirectory directory;
    make_directories(directory / "from/deep");
    make_directories(directory / "to");
    spill(directory / "from/deep/a", "a");
    rename_durably(directory / "from/deep/a", directory / "to/a");
    EXPECT_EQ(slurp(directory / "to/a"), "a");
    spill(directory / "b", "b");
    const std::string message = message_of<IoError>([&] { rename_durably(directory / "b", directory / "to/a"); });
    EXPECT_TRUE(contains(message, fmt::format("'{}' exists already", (directory / "to/a").string()))) << message;
    EXPECT_EQ(slurp(directory / "to/a"), "a");
}

TEST(RenameDurably, KilledBeforeTheRenameLeavesTheOldName) {
    const TempDirectory directory;
    spill(directory / "a", "a");
    const Finished child =
        run_child({"rename", directory / "a", directory / "b"}, {{"KIBAN_FAULT", "file.rename=kill"}});
    EXPECT_EQ(child.signal, SIGKILL);
    EXPECT_EQ(directory.entries(), Names{"a"});
}

TEST(MakeDirectories, MakesParentsAndAcceptsWhatIsThere) {
    const TempDirectory directory;
    make_directories(directory / "x/y/z");
    make_directories(directory / "x/y/z");
    EXPECT_TRUE(std::filesystem::is_directory(directory / "x/y/z"));
}

TEST(MakeDirectories, RefusesANameThatIsAFile) {
    const TempDirectory directory;
    spill(directory / "x", "a file");
    EXPECT_EQ(message_of<IoError>([&] { make_directories(directory / "x"); }),
              "cannot make directory '" + (directory / "x").string() + "': File exists");
    EXPECT_EQ(message_of<IoError>([&] { make_directories(directory / "x/y"); }),
              "cannot make directory '" + (directory / "x").string() + "': File exists");
}

TEST(FreeBytes, OfARealDirectoryIsNotZeroAndOfAMissingOneIsAnError) {
    const TempDirectory directory;
    EXPECT_GT(free_bytes(directory.path()), 0u);
    EXPECT_TRUE(contains(message_of<IoError>([&] { free_bytes(directory / "missing"); }), "missing"));
}

}  // namespace
}  // namespace kiban::monitoring
