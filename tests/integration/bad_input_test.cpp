// SPDX-License-Identifier: Apache-2.0
// What a user can get wrong, through the real command: a clear message, the right exit code, nothing half-written
// visible.
#include <fmt/format.h>
#include <sys/mount.h>
#include <zlib.h>

#include <fstream>

#include "monitoring/file.h"
#include "tests/integration/run_test.h"
#include "tests/monitoring/http.h"

namespace kiban::testing {
namespace {

class BadInput : public RunTest {
  protected:
    // Runs pretrain; the message and the code must be these, and no corpus may be visible.
    void refused(int exit_code, const std::string& message, const std::vector<std::string>& more = {},
                 const Process::Environment& environment = {}) {
        const Ended ended = kiban(pretrain("run", 1, more), environment);
        EXPECT_EQ(ended.exit_code, exit_code) << ended.output;
        EXPECT_TRUE(contains(ended.output, message)) << "expected: " << message << "\nfound: " << ended.output;
        EXPECT_TRUE(visible_manifests().empty()) << "a manifest is visible: " << visible_manifests().front();
    }

    std::vector<std::string> visible_manifests() const {
        std::vector<std::string> found;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_)) {
            if (entry.path().filename() == "manifest.json") found.push_back(entry.path());
        }
        return found;
    }

    static std::string source(const std::string& path) { return fmt::format("data.sources.0.path={}", path); }

    void write(const std::string& name, const std::string& content) const {
        std::ofstream(dir_ / name, std::ios::binary) << content;
    }
};

TEST_F(BadInput, AMissingRunFile) {
    const Ended ended = kiban({"pretrain", "nowhere.toml"});
    EXPECT_NE(ended.exit_code, 0);
    EXPECT_TRUE(contains(ended.output, "nowhere.toml")) << ended.output;
}

TEST_F(BadInput, AMissingFileLeavesNoRunDirectory) {
    refused(65, "missing.txt", {"--set", source("missing.txt")});
    EXPECT_FALSE(std::filesystem::exists(dir_ / "run"));
}

TEST_F(BadInput, AnEmptyCorpus) {
    write("empty.txt", "");
    refused(65, "empty.txt", {"--set", source("empty.txt")});
}

TEST_F(BadInput, ATruncatedGzipFile) {
    gzFile file = gzopen((dir_ / "text.txt.gz").c_str(), "wb");
    const std::string text = monitoring::read_text(dir_ / "text.txt");
    gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
    gzclose(file);
    const auto bytes = std::filesystem::file_size(dir_ / "text.txt.gz");
    std::filesystem::resize_file(dir_ / "text.txt.gz", bytes / 2);
    refused(65, "text.txt.gz", {"--set", source("text.txt.gz")});
}

TEST_F(BadInput, ATruncatedZstdFile) {
    ASSERT_EQ(Process({"/usr/bin/env", "sh", "-c", "command -v zstd"}, dir_ / "which").wait(10), 0)
        << "the zstd tool is needed";
    ASSERT_EQ(Process({"zstd", "-q", (dir_ / "text.txt").string()}, dir_ / "zstd").wait(20), 0);
    const auto bytes = std::filesystem::file_size(dir_ / "text.txt.zst");
    std::filesystem::resize_file(dir_ / "text.txt.zst", bytes / 2);
    refused(65, "text.txt.zst", {"--set", source("text.txt.zst")});
}

TEST_F(BadInput, AMalformedLineOfJsonl) {
    write("lines.jsonl", "{\"text\": \"fine\"}\n{\"text\": \n");
    refused(65, "lines.jsonl", {"--set", source("lines.jsonl")});
}

TEST_F(BadInput, ATokenizerThatIsNotThereOrAsksForTooMuch) {
    refused(78, "bpe:12", {"--set", "data.tokenizer=bpe:12"});
    refused(78, "tokenizer.json", {"--set", "data.tokenizer=tokenizer.json"});
    refused(65, "ask for at most bpe:", {"--set", "data.tokenizer=bpe:500000"});
}

TEST_F(BadInput, NumbersThatDoNotDivide) {
    refused(78, "heads", {"--set", "model.heads=5"});
    refused(78, "micro_batch_rows", {"--set", "train.micro_batch_rows=3"});
}

TEST_F(BadInput, AnUnknownKeyNamesTheNearest) { refused(78, "train.steps", {"--set", "train.stepz=3"}); }

TEST_F(BadInput, APortInUse) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = monitoring::loopback(0);
    socklen_t length = sizeof address;
    ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), length), 0);
    ASSERT_EQ(::listen(socket, 1), 0);
    ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length);
    const std::string listen = fmt::format("127.0.0.1:{}", ntohs(address.sin_port));
    refused(78, fmt::format("'{}': Address already in use", listen),
            {"--set", fmt::format("monitoring.listen={}", listen)});
    ::close(socket);
}

class BadInputSoak : public BadInput {};

TEST_F(BadInputSoak, AFullDiskWhilePreparing) {
    const Ended full =
        kiban(pretrain("run", 1, {"--set", "supervise.backoff_seconds=0.01"}), {{"KIBAN_FAULT", "data.unit=enospc"}});
    EXPECT_EQ(full.exit_code, 74) << full.output;
    EXPECT_TRUE(contains(full.output, "No space left on device")) << full.output;
    EXPECT_TRUE(contains(full.output, "9 I/O errors in a row, with nothing durable in between")) << full.output;
    EXPECT_TRUE(visible_manifests().empty());
    const Ended later = kiban(pretrain("run", 1, {"--set", "train.steps=10"}));
    EXPECT_EQ(later.exit_code, 0) << "there is space again:\n" << later.output;
}

TEST_F(BadInput, ADiskThatIsFullForAMomentWhenTheCorpusIsPublishedIsAskedAgain) {
    const Ended ended =
        kiban(pretrain("run", 1, {"--set", "train.steps=10"}), {{"KIBAN_FAULT", "data.manifest=enospc"}});
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_TRUE(contains(ended.output, "the coordinator failed: IoError: ")) << ended.output;
    EXPECT_EQ(last_step("run"), 10u);
}

TEST_F(BadInput, Row06AFullDiskWhileSavingCostsACheckpointAndNothingElse) {
    const Ended ended = kiban(pretrain("run", 1), {{"KIBAN_FAULT", "ckpt.payload=enospc@3"}});
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_TRUE(contains(ended.output, "no checkpoint, training goes on")) << ended.output;
    EXPECT_EQ(journaled("run", "checkpoint_failed"), 1u);
    EXPECT_EQ(journaled("run", "attempt_ended"), 2u) << "one that prepared, one that trained to the end";
    EXPECT_EQ(last_step("run"), kSteps);
}

TEST_F(BadInput, CheckpointsThatAreAllBadAreNotTakenForANewRun) {
    ASSERT_EQ(kiban(pretrain("run", 1, {"--set", "train.steps=50"})).exit_code, 0);
    for (const auto& entry : std::filesystem::directory_iterator(dir_ / "run/ckpt")) {
        if (std::filesystem::exists(entry.path() / "MANIFEST.json"))
            std::filesystem::resize_file(entry.path() / "MANIFEST.json", 10);
    }
    const Ended ended = kiban(pretrain("run", 1));
    EXPECT_EQ(ended.exit_code, 74) << ended.output;
    EXPECT_EQ(last_step("run"), 50u);
}

TEST_F(BadInput, ADamagedNewestCheckpointFallsBackToTheOneBefore) {
    ASSERT_EQ(kiban(pretrain("whole", 1)).exit_code, 0);
    ASSERT_EQ(kiban(pretrain("run", 1, {"--set", "train.steps=100", "--set", "train.schedule.name=constant"}),
                    standing_still_before({70}))  // that of step 80 is not skipped
                  .exit_code,
              0);
    std::vector<std::filesystem::path> checkpoints;
    for (const auto& entry : std::filesystem::directory_iterator(dir_ / "run/ckpt")) {
        if (std::filesystem::exists(entry.path() / "COMMIT")) checkpoints.push_back(entry.path());
    }
    std::sort(checkpoints.begin(), checkpoints.end());
    const auto shard = checkpoints.back() / "shard-00000.h5";
    monitoring::File file = monitoring::File::open_write(shard);
    std::byte byte{};
    const std::uint64_t middle = file.size() / 2;
    file.read_at(middle, std::span(&byte, 1));
    byte ^= std::byte{1};
    file.write_at(middle, std::span(&byte, 1));
    file.close();
    const Ended ended =
        kiban(pretrain("run", 1, {"--set", "train.steps=120", "--set", "train.schedule.name=constant"}));
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_TRUE(contains(ended.output, "cannot be used")) << ended.output;
    EXPECT_TRUE(contains(ended.output, "resuming from step 80")) << ended.output;
    EXPECT_EQ(last_step("run"), 120u);
}

TEST_F(BadInputSoak, Row08ATruncatedShardOfTheNewestCheckpointIsToldAndTheOneBeforeIsTaken) {
    const auto until = [](int steps) {
        return pretrain("run", 1,
                        {"--set", fmt::format("train.steps={}", steps), "--set", "train.schedule.name=constant"});
    };
    ASSERT_EQ(kiban(until(50), standing_still_before({30})).exit_code, 0);
    const auto shard = std::filesystem::path(status("run")->checkpoint) / "shard-00000.h5";
    std::filesystem::resize_file(shard, std::filesystem::file_size(shard) - 1);
    const Ended ended = kiban(until(60));
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_TRUE(contains(ended.output, "resuming from step 40")) << ended.output;
    EXPECT_EQ(journaled("run", "checkpoint_rejected"), 1u);
    EXPECT_TRUE(contains(kiban({"status", "run"}).output, "checkpoint_rejected")) << "people look there";
    EXPECT_EQ(last_step("run"), 60u);
}

TEST_F(BadInput, AWorkerThatIsNotThereIsSaid) {
    std::filesystem::copy(KIBAN_BIN_DIR "/kiban", dir_ / "kiban");
    Process process({(dir_ / "kiban").string(), "pretrain", (dir_ / "run.toml").string()}, dir_ / "output");
    EXPECT_EQ(process.wait(30), 78);
    EXPECT_TRUE(contains(process.output(), "kiban-worker' is not an executable")) << process.output();
}

}  // namespace
}  // namespace kiban::testing
