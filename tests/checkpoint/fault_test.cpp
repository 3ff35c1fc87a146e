// SPDX-License-Identifier: Apache-2.0
// Kills, refused writes and closes, and full disks, at every named point of a save. Each save runs in a process of its
// own.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>
#include <string_view>
#include <thread>

#include "checkpoint/commit.h"
#include "checkpoint/reader.h"
#include "monitoring/error.h"
#include "monitoring/exit_codes.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;
using testing::CommandResult;
using testing::entries_in;
using testing::run_command;
using testing::Scratch;
using testing::tiny_model;

struct Point {
    const char* name;
    std::uint64_t newest_after;  // the committed step that a death at this point leaves as the newest
};
// In the order of a save. Before the rename the old checkpoint is the newest, afterwards the new one.
const std::vector<Point> kPoints{
    {"ckpt.stage", 1},         {"ckpt.header", 1}, {"h5.create", 1},     {"file.preallocate", 1}, {"ckpt.payload", 1},
    {"file.write", 1},         {"ckpt.fsync", 1},  {"file.close", 1},    {"ckpt.curve", 1},       {"ckpt.manifest", 1},
    {"ckpt.commit_record", 1}, {"ckpt.rename", 1}, {"ckpt.retention", 2}};

// A kill loses nothing of the page cache, so these tests need no disk; memory makes hundreds of synced saves quick.
fs::path quick_place() { return fs::is_directory("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path(); }

void commit(const fs::path& run_dir, std::uint64_t step, std::uint32_t attempt = 1) {
    testing::write_checkpoint({run_dir, step, attempt, 2, testing::flat_layout, tiny_model()});
}

CommandResult save(const fs::path& run_dir, std::uint64_t step, int attempt, const std::string& fault = "",
                   const char* how = "save") {
    return run_command(fmt::format("{} exec {} {} {} {} {} 2", fault.empty() ? "" : "KIBAN_FAULT='" + fault + "'",
                                   KIBAN_CHECKPOINT_CHILD, how, run_dir.string(), step, attempt));
}

void expect_newest_is_whole(const fs::path& run_dir, std::uint64_t step, const std::string& what) {
    const auto newest = newest_checkpoint(run_dir);
    ASSERT_TRUE(newest) << what;
    EXPECT_EQ(newest->step, step) << what;
    EXPECT_EQ(verify_checkpoint(newest->directory).faults, std::vector<std::string>{}) << what;
    const CheckpointReader reader(newest->directory);
    EXPECT_EQ(reader.step(), step) << what;
    EXPECT_EQ(testing::wrong_tensors(reader, tiny_model(), testing::flat_layout, 1), std::vector<std::string>{})
        << what;
    EXPECT_FALSE(fs::exists(run_dir / "ckpt" / "rejected.jsonl")) << what;  // nothing half-made was ever a candidate
}

void expect_swept(const fs::path& run_dir, const std::string& what) {
    sweep_staging(run_dir);
    EXPECT_EQ(entries_in(run_dir / "ckpt" / ".staging"), 0U) << what;
    EXPECT_EQ(entries_in(run_dir / "ckpt" / ".trash"), 0U) << what;
}

bool was_killed(const CommandResult& result) {
    return WIFSIGNALED(result.status) && WTERMSIG(result.status) == SIGKILL;
}

TEST(Kill, Row01And02AtEveryPointOfASaveLeavesTheOldOrTheNewCheckpointNeverAMix) {
    int kills = 0;
    for (const Point& point : kPoints) {
        for (int call = 1;; ++call) {
            const Scratch scratch(quick_place());
            commit(scratch.path(), 0);
            commit(scratch.path(), 1);
            const std::string fault = fmt::format("{}=kill@{}", point.name, call);
            const CommandResult result = save(scratch.path(), 2, 1, fault);
            if (!was_killed(result)) {
                EXPECT_EQ(result.status, 0)
                    << fault << result.output;  // the point is passed fewer times: all of its calls were tried
                EXPECT_GT(call, 1) << point.name << " is never passed";
                break;
            }
            ++kills;
            expect_newest_is_whole(scratch.path(), point.newest_after, fault);
            expect_swept(scratch.path(), fault);
            EXPECT_EQ(save(scratch.path(), 3, 2).status, 0) << fault;
            expect_newest_is_whole(scratch.path(), 3, fault);
        }
    }
    EXPECT_GT(kills, 30);
}

TEST(Kill, AtRandomMomentsOfContinuousSavingNeverLosesACommit) {
    const Scratch scratch(quick_place());
    commit(scratch.path(), 0);
    std::mt19937_64 engine(3);
    std::uint64_t last = 0;
    for (int attempt = 2; attempt < 42; ++attempt) {
        const std::string first_step = std::to_string(last + 1);
        const std::string attempt_text = std::to_string(attempt);
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            ::execl(KIBAN_CHECKPOINT_CHILD, "checkpoint_child", "save-forever", scratch.path().c_str(),
                    first_step.c_str(), attempt_text.c_str(), nullptr);
            ::_exit(127);
        }
        // Every second one is let live until it has committed, however slow the machine is.
        const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(attempt % 2 == 0 ? 60 : 0);
        while (list_checkpoints(scratch.path()).front().step <= last && std::chrono::steady_clock::now() < patience) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        std::this_thread::sleep_for(std::chrono::microseconds(engine() % 50000));
        ::kill(child, SIGKILL);
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status)) << status;
        const auto newest = newest_checkpoint(scratch.path());
        ASSERT_TRUE(newest);
        EXPECT_GE(newest->step, last);
        last = newest->step;
        expect_newest_is_whole(scratch.path(), last, fmt::format("attempt {}", attempt));
        EXPECT_GE(list_checkpoints(scratch.path()).size(), last > 0 ? 2U : 1U);
        expect_swept(scratch.path(), fmt::format("attempt {}", attempt));
    }
    EXPECT_GE(last, 20U);
}

class Refusal : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(Refusal, Row06And07AtEveryPointOfASaveIsAnErrorThatLeavesTheOldCheckpointsAndNoLitter) {
    const auto [action, reason] = GetParam();
    int refusals = 0;
    for (const Point& point : kPoints) {
        for (int call = 1;; ++call) {
            const Scratch scratch(quick_place());
            commit(scratch.path(), 0);
            commit(scratch.path(), 1);
            const std::string fault = fmt::format("{}={}@{}", point.name, action, call);
            const CommandResult result = save(scratch.path(), 2, 1, fault);
            if (result.status == 0) {
                EXPECT_GT(call, 1) << point.name << " is never passed";
                break;
            }
            ++refusals;
            ASSERT_TRUE(WIFEXITED(result.status)) << fault << result.output;
            EXPECT_EQ(WEXITSTATUS(result.status), kExitIo) << fault << result.output;
            EXPECT_NE(result.output.find("IoError: "), std::string::npos) << fault << result.output;
            EXPECT_NE(result.output.find(reason), std::string::npos) << fault << result.output;
            expect_newest_is_whole(scratch.path(), point.newest_after, fault);
            EXPECT_EQ(entries_in(scratch.path() / "ckpt" / ".staging"), 0U) << fault;
            EXPECT_EQ(entries_in(scratch.path() / "ckpt" / ".trash"), 0U) << fault;
            EXPECT_EQ(save(scratch.path(), 3, 1).status, 0) << fault;  // space came back
            expect_newest_is_whole(scratch.path(), 3, fault);
        }
    }
    EXPECT_GT(refusals, 30);
}
INSTANTIATE_TEST_SUITE_P(DiskThatIsFull, Refusal, ::testing::Values(std::pair("enospc", "No space left on device")));
INSTANTIATE_TEST_SUITE_P(QuotaThatIsUsedUp, Refusal, ::testing::Values(std::pair("edquot", "Disk quota exceeded")));
INSTANTIATE_TEST_SUITE_P(BrokenDisk, Refusal, ::testing::Values(std::pair("eio", "Input/output error")));

TEST(BackgroundWriter, AKillOrARefusalAtAnyPointOfAShardLeavesTheOldCheckpointsAndTheNextSaveIsWhole) {
    int faults = 0;
    for (const char* point :
         {"ckpt.header", "h5.create", "file.preallocate", "ckpt.payload", "file.write", "ckpt.fsync", "file.close"}) {
        for (const char* action : {"kill", "eio", "enospc"}) {
            for (const int call : {1, 2}) {  // of the first and of the second writer, or of the first one's next part
                const Scratch scratch(quick_place());
                commit(scratch.path(), 0);
                commit(scratch.path(), 1);
                const std::string fault = fmt::format("{}={}@{}", point, action, call);
                const CommandResult result = save(scratch.path(), 2, 1, fault, "save-beside");
                ASSERT_NE(result.status, 0) << fault << result.output;
                ++faults;
                EXPECT_TRUE(was_killed(result) || WEXITSTATUS(result.status) == kExitIo) << fault << result.output;
                expect_newest_is_whole(scratch.path(), 1, fault);
                expect_swept(scratch.path(), fault);
                EXPECT_EQ(save(scratch.path(), 3, 2, "", "save-beside").status, 0) << fault;
                expect_newest_is_whole(scratch.path(), 3, fault);
            }
        }
    }
    EXPECT_EQ(faults, 42);
}

class FullDisk : public ::testing::TestWithParam<const char*> {};

TEST_P(FullDisk, Row06And07TheKernelsOwnRefusalAtEveryStageLeavesTheOldCheckpointAndACleanExit) {
    const Scratch scratch;
    const CommandResult result =
        run_command(fmt::format("{} {} {}", KIBAN_CHECKPOINT_CHILD, GetParam(), (scratch.path() / "disk").string()));
    ASSERT_EQ(result.status, 0) << result.output;  // HDF5 on a full disk must not end in a crash at exit
    const bool tmpfs = result.output.find("disk: tmpfs\n") != std::string::npos;
    const bool limit = result.output.find("disk: file size limit\n") != std::string::npos;
    const bool may_be_tmpfs = std::string_view(GetParam()).starts_with("full-disk");
    EXPECT_TRUE(limit || (tmpfs && may_be_tmpfs)) << result.output;
    const std::string reason = tmpfs ? "No space left on device" : "File too large";
    const auto line_of = [&](const std::string& stage) {
        const auto begin = result.output.find("\n" + stage + ": ");
        return begin == std::string::npos
                   ? ""
                   : result.output.substr(begin + 1, result.output.find('\n', begin + 1) - begin - 1);
    };
    const std::string preallocate = line_of("preallocate");
    // A limit on file sizes stops HDF5 already when it sizes the file; 40: 400000 bytes and a header.
    EXPECT_NE(preallocate.find(tmpfs ? "IoError: cannot reserve 40" : "IoError: "), std::string::npos) << result.output;
    EXPECT_NE(preallocate.find(reason), std::string::npos) << preallocate;
    EXPECT_NE(line_of("header").find("IoError: "), std::string::npos) << result.output;
    EXPECT_NE(line_of("header").find(reason), std::string::npos) << result.output;
    EXPECT_NE(line_of("manifest").find("IoError: "), std::string::npos) << result.output;
    EXPECT_NE(line_of("manifest").find(reason), std::string::npos) << result.output;
    EXPECT_NE(line_of("begin").find("IoError: cannot save step 3: 1125899906842624 bytes and 10 % are needed"),
              std::string::npos)
        << result.output;
    for (const char* stage : {"preallocate", "header", "manifest", "begin"}) {
        EXPECT_TRUE(line_of(stage).ends_with("| newest 1 good")) << line_of(stage);
    }
    EXPECT_EQ(line_of("left behind"), "left behind: 0");
    EXPECT_EQ(line_of("after"), "after: no error | newest 3 good");
}
INSTANTIATE_TEST_SUITE_P(Writer, FullDisk,
                         ::testing::Values("full-disk", "full-disk-beside", "size-limit", "size-limit-beside"));

}  // namespace
}  // namespace kiban::checkpoint
