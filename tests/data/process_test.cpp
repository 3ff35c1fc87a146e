// SPDX-License-Identifier: Apache-2.0
// Preparation by other processes: killed, several at once, without disk, and read by other programs.
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>

#include "data/manifest.h"
#include "data/prepare.h"
#include "monitoring/exit_codes.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

struct Outcome {
    int code = 0;  // exit status, or minus the signal
    std::string output;
};

// Runs a shell command; both of its outputs are kept.
Outcome run(const std::string& command) {
    FILE* pipe = ::popen(("exec 2>&1; " + command).c_str(), "r");
    Outcome outcome;
    std::array<char, 4096> buffer{};
    while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe))
        outcome.output.append(buffer.data(), got);
    const int status = ::pclose(pipe);
    outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    if (outcome.code > 128) outcome.code = 128 - outcome.code;  // the shell's way to say that a signal ended its child
    return outcome;
}

class OtherProcess : public ::testing::Test {
  protected:
    OtherProcess() {
        directory_.write("t/large.txt", words(700'000, 1));
        for (std::size_t i = 0; i < 30; ++i) directory_.write("t/" + std::to_string(i), words(10'000, 100 + i));
    }

    std::string command(const std::string& corpora, int tasks = 0) const {
        return fmt::format("'{}' '{}' '{}' t {}", KIBAN_DATA_DRIVER, directory_.path().string(), corpora, tasks);
    }
    std::string corpora(const std::string& name) const { return (directory_ / name).string(); }
    /// What the finished corpus below `name` holds, without the name of its directory.
    std::vector<std::pair<std::string, std::string>> corpus(const std::string& name) const {
        auto files = contents(directory_ / name);
        for (auto& [file, content] : files) file = file.substr(file.find('/') + 1);
        return files;
    }
    bool has_manifest(const std::string& name) const {
        return std::ranges::any_of(corpus(name), [](const auto& file) { return file.first == "manifest.json"; });
    }

    TempDirectory directory_;
};

int tasks_in(const Outcome& outcome) { return std::atoi(outcome.output.c_str()); }

TEST_F(OtherProcess, KilledAnywhereLeavesAPreparationThatContinues) {
    const Outcome clean = run(command(corpora("clean")));
    ASSERT_EQ(clean.code, 0) << clean.output;
    const int all = tasks_in(clean);
    ASSERT_GE(all, 12);
    const auto expected = corpus("clean");
    const auto kill_at = [&](const std::string& fault, int least_done) {
        const std::string name = "killed-" + fault;
        const Outcome killed = run("KIBAN_FAULT='" + fault + "' " + command(corpora(name)));
        ASSERT_EQ(killed.code, -SIGKILL) << fault << ": " << killed.output;
        ASSERT_FALSE(has_manifest(name));
        const Outcome resumed = run(command(corpora(name)));
        ASSERT_EQ(resumed.code, 0) << fault << ": " << resumed.output;
        EXPECT_EQ(tasks_in(resumed), all - least_done) << fault;
        EXPECT_TRUE(corpus(name) == expected) << fault;
    };
    // Each unit passes data.unit twice, before it is made durable and before it is renamed; a shard likewise.
    for (const int unit : {1, 2, 3, 8, 9}) kill_at(fmt::format("data.unit=kill@{}", unit), (unit - 1) / 2);
    const int shards =
        static_cast<int>(std::ranges::count_if(expected, [](const auto& f) { return f.first.ends_with(".h5"); }));
    ASSERT_GE(shards, 3);
    for (const int shard : {1, 2, 3, 4})
        kill_at(fmt::format("data.shard=kill@{}", shard), all - shards + (shard - 1) / 2);
    for (const int call : {1, 2}) kill_at(fmt::format("data.manifest=kill@{}", call), all);
}

TEST_F(OtherProcess, KilledWhileItCleansAndComparesDocumentsContinues) {
    directory_.write("evaluation.txt", words(3'000, 105) + " bob@example.org");
    directory_.write("t/copy", words(10'000, 103) + " bob@example.org");
    const std::string cleaning = "KIBAN_TEST_CLEAN=1 ";
    const Outcome clean = run(cleaning + command(corpora("clean")));
    ASSERT_EQ(clean.code, 0) << clean.output;
    const auto expected = corpus("clean");
    for (const std::string fault : {"data.evaluation=kill@1", "data.evaluation=kill@2", "data.duplicates=kill@1",
                                    "data.duplicates=kill@4", "data.duplicates=kill@25", "data.duplicates=kill@30",
                                    "data.anonymise=kill@12", "data.audit=kill@1", "data.card=kill@3"}) {
        const std::string name = "killed-" + fault;
        const Outcome killed = run(cleaning + "KIBAN_FAULT='" + fault + "' " + command(corpora(name)));
        ASSERT_EQ(killed.code, -SIGKILL) << fault << ": " << killed.output;
        ASSERT_FALSE(has_manifest(name));
        const Outcome resumed = run(cleaning + command(corpora(name)));
        ASSERT_EQ(resumed.code, 0) << fault << ": " << resumed.output;
        EXPECT_TRUE(corpus(name) == expected) << fault;
    }
}

TEST_F(OtherProcess, StoppedAfterAnyNumberOfTasksRedoesNone) {
    const Outcome clean = run(command(corpora("clean")));
    const int all = tasks_in(clean);
    for (int tasks = 1; tasks < all; tasks += 3) {
        const std::string name = "stopped" + std::to_string(tasks);
        ASSERT_EQ(run(command(corpora(name), tasks)).code, 0);
        EXPECT_FALSE(has_manifest(name));
        const Outcome resumed = run(command(corpora(name)));
        EXPECT_EQ(tasks_in(resumed), all - tasks) << resumed.output;
        EXPECT_TRUE(corpus(name) == corpus("clean"));
    }
}

TEST_F(OtherProcess, SeveralAtOnceAgreeOnOneCorpus) {
    ASSERT_EQ(run(command(corpora("clean"))).code, 0);
    for (int round = 0; round < 3; ++round) {
        const std::string name = "shared" + std::to_string(round);
        std::string script;
        for (int process = 0; process < 4; ++process)
            script += command(corpora(name)) + " & p" + std::to_string(process) + "=$!; ";
        script += "wait $p0 && wait $p1 && wait $p2 && wait $p3";
        const Outcome outcome = run(script);
        EXPECT_EQ(outcome.code, 0) << outcome.output;
        EXPECT_TRUE(run(command(corpora(name))).output.starts_with("0 tasks"));
        EXPECT_TRUE(corpus(name) == corpus("clean"));
    }
}

TEST_F(OtherProcess, WithoutDiskSaysSoAndLeavesNothingHalfWritten) {
    for (const std::string fault :
         {"data.unit=enospc@4", "data.shard=enospc@1", "data.shard=enospc@4", "data.manifest=enospc",
          "file.write=enospc@5", "file.preallocate=enospc@2", "h5.create=enospc@2"}) {
        const std::string name = "faulty-" + fault;
        const Outcome outcome = run("KIBAN_FAULT='" + fault + "' " + command(corpora(name)));
        EXPECT_EQ(outcome.code, kExitIo) << fault << ": " << outcome.output;
        EXPECT_NE(outcome.output.find("No space left on device"), std::string::npos) << outcome.output;
        for (const auto& [file, content] : corpus(name)) {
            EXPECT_FALSE(file.ends_with(".tmp") || file == "manifest.json") << fault << " left " << file;
        }
        EXPECT_EQ(run(command(corpora(name))).code, 0);
    }
}

// A real full disk: a small file system of its own where we may mount one, else a limit on the size of files.
TEST_F(OtherProcess, OnAFullDiskSaysSoAndLeavesNothingHalfWritten) {
    const std::string full = corpora("full");
    std::filesystem::create_directory(full);
    const bool mounted = ::mount("kiban_test", full.c_str(), "tmpfs", 0, "size=1700k") == 0;
    const Outcome outcome = run((mounted ? "" : "trap '' XFSZ; ulimit -f 300; ") + command(full));
    EXPECT_EQ(outcome.code, kExitIo) << outcome.output;
    const std::string reason = mounted ? "No space left on device" : "File too large";
    EXPECT_NE(outcome.output.find(reason), std::string::npos) << outcome.output;
    for (const auto& [file, content] : corpus("full"))
        EXPECT_FALSE(file.ends_with(".tmp") || file == "manifest.json") << file;
    if (mounted) {
        EXPECT_EQ(::mount("", full.c_str(), "", MS_REMOUNT, "size=64m"), 0);
    }
    const Outcome resumed = run(command(full));
    EXPECT_EQ(resumed.code, 0) << resumed.output;
    EXPECT_EQ(mounted ? ::umount(full.c_str()) : 0, 0);
}

TEST(Referee, H5pyAndH5dumpReadWhatWasWritten) {
    const TempDirectory directory;
    directory.write("a.txt", words(1'300'000, 1) + "caf\xe9 \xff\x01");
    DataConfig config = config_of("a.txt");
    config.holdout = {0.1, HoldoutBy::tail};
    config.shard_tokens = 800'000;
    const Manifest manifest = prepare_here(config, directory.path(), directory / "corpora");
    const Outcome referee =
        run(fmt::format("/usr/bin/python3 '{}/tests/data/referee.py' '{}' '{}' 0.1", KIBAN_SOURCE_DIR,
                        (manifest.directory / "manifest.json").string(), (directory / "a.txt").string()));
    EXPECT_EQ(referee.code, 0) << referee.output;
    EXPECT_EQ(referee.output, "agreed on 1300008 tokens in 2 shards\n");
    const Outcome dump = run(fmt::format("h5dump -H '{}'", (manifest.directory / "shard-00001.h5").string()));
    EXPECT_EQ(dump.code, 0) << dump.output;
    EXPECT_NE(
        dump.output.find("DATASET \"tokens\" {\n      DATATYPE  H5T_STD_U16LE\n      DATASPACE  SIMPLE { ( 500008 )"),
        std::string::npos)
        << dump.output;
    const Outcome first =
        run(fmt::format("h5dump -d /tokens -s 0 -c 3 -y '{}'", (manifest.directory / "shard-00000.h5").string()));
    const std::string text = words(3, 1);
    EXPECT_NE(first.output.find(fmt::format("{}, {}, {}", int{text[0]}, int{text[1]}, int{text[2]})), std::string::npos)
        << first.output;
}

}  // namespace
}  // namespace kiban::data
