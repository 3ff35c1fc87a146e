// SPDX-License-Identifier: Apache-2.0
// The real `kiban` as a child process: exit codes, messages and output.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <vector>

#include "coordinator/run/lease.h"
#include "coordinator/run/run_directory.h"
#include "coordinator/run/status.h"
#include "monitoring/curve.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/coordinator/kiban_process.h"
#include "tests/coordinator/made_run.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

// --- The command line itself ---

TEST(CommandLine, HelpNamesEveryCommandButTheHiddenOne) {
    const Result help = kiban({"--help"});
    EXPECT_EQ(help.exit_code, 0);
    for (const char* command :
         {"pretrain", "prepare", "status", "curve", "report", "verify", "inspect", "generate", "submit", "doctor",
          "plan", "export", "import", "fork", "set", "audit", "trace", "rows"}) {
        EXPECT_TRUE(contains(help.out, std::string("\n  ") + command)) << command;
        EXPECT_EQ(kiban({command, "--help"}).exit_code, 0) << command;
    }
    EXPECT_FALSE(contains(help.out, "exec-worker"));
}

TEST(CommandLine, VersionIsPrinted) {
    const Result version = kiban({"--version"});
    EXPECT_EQ(version.exit_code, 0);
    EXPECT_TRUE(version.out.starts_with("kiban ")) << version.out;
}

TEST(CommandLine, WhatCannotBeUnderstoodIsAUsageError) {
    const Result typo = kiban({"pretrian", "run.toml"});
    EXPECT_EQ(typo.exit_code, 64);
    EXPECT_EQ(typo.err, "kiban: there is no command 'pretrian'; did you mean 'pretrain'?; see kiban --help\n");
    EXPECT_EQ(kiban({}).exit_code, 64);
    const Result option = kiban({"status", "x", "--jsno"});
    EXPECT_EQ(option.exit_code, 64);
    EXPECT_TRUE(contains(option.err, "--jsno")) << option.err;
    EXPECT_EQ(kiban({"report", "x"}).exit_code, 64);
    EXPECT_EQ(kiban({"curve", "x", "--csv", "--openmetrics"}).exit_code, 64);
    const Result top = kiban({"generate", "x", "--top-k", "-1"});
    EXPECT_EQ(top.exit_code, 64);
    EXPECT_TRUE(contains(top.err, "--top-k")) << top.err;
    const Result setting = kiban({"prepare", "/dev/null", "--set", "train.steps"});
    EXPECT_EQ(setting.exit_code, 78);  // /dev/null is no run file, which is looked at first
}

// --- Run files ---

class RunFileRefusals : public ::testing::Test {
  protected:
    RunFileRefusals() : directory_(fs::temp_directory_path() / fmt::format("kiban-refusals-{}", ::getpid())) {
        fs::create_directories(directory_);
    }
    ~RunFileRefusals() override { fs::remove_all(directory_); }

    // Runs `kiban pretrain` on this text and returns the message, once the exit code was 78 and nothing was made.
    std::string refusal(const std::string& toml, const std::vector<std::string>& arguments = {}) {
        std::ofstream(directory_ / "run.toml") << toml;
        std::vector<std::string> all = {"pretrain", (directory_ / "run.toml").string()};
        all.insert(all.end(), arguments.begin(), arguments.end());
        const Result result = kiban(all);
        EXPECT_EQ(result.exit_code, 78) << result.err;
        EXPECT_EQ(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()), 1)
            << "something was written";
        return result.err;
    }

    fs::path directory_;
    const std::string source_ = "[[data.sources]]\npath = 'text.txt'\n";
};

TEST_F(RunFileRefusals, AMissingRunFileIsNamed) {
    const Result result = kiban({"pretrain", "/nowhere/run.toml"});
    EXPECT_EQ(result.exit_code, 78);
    EXPECT_EQ(result.err, "kiban: ConfigError: cannot read run file '/nowhere/run.toml': there is no such file\n");
}

TEST_F(RunFileRefusals, AnUnknownKeyIsAnsweredWithTheNearest) {
    EXPECT_TRUE(contains(refusal(source_ + "[model]\nlayer = 3\n"),
                         "run.toml' line 4: unknown key 'model.layer'; did you mean 'model.layers'?"));
}

TEST_F(RunFileRefusals, HeadsThatDoNotDivideAreNamedWithTheWidth) {
    EXPECT_TRUE(
        contains(refusal(source_ + "[model]\nheads = 5\n"), "model.heads = 5 does not divide model.d_model = 128"));
}

TEST_F(RunFileRefusals, ABatchThatDoesNotDivideIsNamedWithTheWorkers) {
    EXPECT_TRUE(contains(refusal(source_, {"--workers", "3", "--set", "train.batch_rows=32"}),
                         "train.batch_rows = 32 rows cannot be shared evenly by 3 data-parallel workers; the nearest "
                         "that can: 30 or 33"));
}

TEST_F(RunFileRefusals, TokenizersThatAreNotThereAreRefusedByName) {
    EXPECT_TRUE(contains(refusal(source_, {"--set", "data.tokenizer=bpe:12"}), "data.tokenizer 'bpe:12': expected"));
    EXPECT_TRUE(contains(refusal(source_, {"--set", "data.tokenizer=/x/tokenizer.json"}), "/x/tokenizer.json"));
}

TEST_F(RunFileRefusals, ASettingThatIsNoAssignmentIsAUsageError) {
    std::ofstream(directory_ / "run.toml") << source_;
    const Result result = kiban({"pretrain", (directory_ / "run.toml").string(), "--set", "train.steps"});
    EXPECT_EQ(result.exit_code, 64);
    EXPECT_TRUE(contains(result.err, "--set 'train.steps': expected KEY=VALUE")) << result.err;
}

// --- Run directories ---

TEST(RunDirectories, WhatIsNoRunDirectoryIsRefusedByEveryTool) {
    for (const char* command : {"status", "curve", "verify", "inspect"}) {
        const Result missing = kiban({command, "/nowhere"});
        EXPECT_EQ(missing.exit_code, 74) << command << missing.err;
        EXPECT_TRUE(contains(missing.err, "'/nowhere': there is no such")) << missing.err;
        const Result other = kiban({command, "/usr"});
        EXPECT_EQ(other.exit_code, 74) << command << other.err;
        EXPECT_TRUE(contains(other.err, "'/usr' is no run directory: expected run.json")) << other.err;
    }
}

TEST(Status, AFinishedRunShowsWhereItEnded) {
    const MadeRun made;
    const Result text = kiban({"status", made.run_dir.string()});
    EXPECT_EQ(text.exit_code, 0) << text.err;
    EXPECT_TRUE(contains(text.out, "run made, attempt 1, 0 restarts: done\n")) << text.out;
    EXPECT_TRUE(contains(text.out, "  step        20 of 20 (100.0 %)\n")) << text.out;
    EXPECT_TRUE(contains(text.out, "  tokens      1 280\n")) << text.out;
    EXPECT_TRUE(contains(text.out, "  checkpoint  step 20, " + made.newest_checkpoint.string())) << text.out;
    EXPECT_TRUE(contains(text.out, " finished attempt=1 step=20\n")) << text.out;
}

TEST(Status, JsonHoldsTheRunsOwnStepBeforeAllOthers) {
    const MadeRun made;
    const Result result = kiban({"status", made.run_dir.string(), "--json"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const auto json = nlohmann::json::parse(result.out);
    EXPECT_EQ(json.at("step"), 20);
    EXPECT_EQ(json.at("checkpoints").size(), 2U);
    EXPECT_EQ(json.at("checkpoints")[0].at("step"), 20);
    EXPECT_EQ(json.at("loss"), 0.25);
    EXPECT_LT(result.out.find("\"step\": 20"), result.out.find("\"checkpoints\""));
}

// A coordinator that takes the run, says that it trains, and lives or dies without a word.
void claim(const MadeRun& made) {
    const RunDirectory directory(made.run_dir);
    RunStatus status = *read_status(directory.status());
    status.state = "training";
    status.pid = ::getpid();
    status.step = 7;
    status.workers = {{0, "here", 4711, "forward", 7, 3u << 20, 1024, 0.25}};
    write_status(directory.status(), status);
}

TEST(Status, ADeadCoordinatorIsSaidToBeDeadAndTheCurveIsBelieved) {
    const MadeRun made;
    const pid_t child = ::fork();
    if (child == 0) {
        static Lease lease = Lease::acquire(made.run_dir);
        claim(made);
        ::_exit(0);  // without the destructor, as a SIGKILL would leave it
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0);
    const Result text = kiban({"status", made.run_dir.string()});
    EXPECT_EQ(text.exit_code, 0);
    EXPECT_TRUE(contains(
        text.out, fmt::format("dead: its coordinator process {} on here is gone, it was training; start the same kiban "
                              "pretrain again to resume",
                              child)))
        << text.out;
    EXPECT_TRUE(contains(text.out, "  step        20 of 20")) << text.out;
    EXPECT_FALSE(contains(text.out, "worker 0")) << text.out;
    EXPECT_EQ(nlohmann::json::parse(kiban({"status", made.run_dir.string(), "--json"}).out).at("life"), "dead");
}

TEST(Status, ALiveCoordinatorIsBelieved) {
    const MadeRun made;
    const Lease lease = Lease::acquire(made.run_dir);
    claim(made);
    const Result text = kiban({"status", made.run_dir.string()});
    EXPECT_TRUE(contains(text.out, fmt::format("training (coordinator process {} on here)", ::getpid()))) << text.out;
    EXPECT_TRUE(contains(text.out, "  step        7 of 20 (35.0 %)")) << text.out;
    EXPECT_TRUE(
        contains(text.out, "  worker 0    here process 4711, forward at step 7, 3.0 MiB resident, 1.0 KiB optimizer"))
        << text.out;
    const auto json = nlohmann::json::parse(kiban({"status", made.run_dir.string(), "--json"}).out);
    EXPECT_EQ(json.at("life"), "running");
    EXPECT_EQ(json.at("workers")[0].at("pid"), 4711);
}

TEST(Status, WatchingAnEndedRunEnds) {
    const MadeRun made;
    EXPECT_EQ(kiban({"status", made.run_dir.string(), "--watch"}).exit_code, 0);
}

// --- Curves and reports ---

TEST(CurveCommand, PrintsEveryStepOnce) {
    const MadeRun made;
    std::ostringstream expected;
    monitoring::write_csv(expected, monitoring::read_curve(made.run_dir / "curve").rows, false);
    const Result csv = kiban({"curve", made.run_dir.string(), "--csv"});
    EXPECT_EQ(csv.exit_code, 0);
    EXPECT_EQ(csv.out, expected.str());
    EXPECT_EQ(std::count(csv.out.begin(), csv.out.end(), '\n'), 21);
    EXPECT_EQ(kiban({"curve", made.run_dir.string()}).out, csv.out);
    EXPECT_TRUE(contains(kiban({"curve", made.run_dir.string(), "--timing"}).out, "step_seconds"));
}

TEST(CurveCommand, OpenMetricsCarriesTheRunsName) {
    const MadeRun made("other-name");
    const Result text = kiban({"curve", made.run_dir.string(), "--openmetrics"});
    EXPECT_EQ(text.exit_code, 0);
    EXPECT_TRUE(contains(text.out, "run=\"other-name\"")) << text.out.substr(0, 300);
    EXPECT_TRUE(text.out.ends_with("# EOF\n"));
}

TEST(CurveCommand, AFullDiskUnderStandardOutputIsAnError) {
    const MadeRun made;
    const Result result = run({{"curve", made.run_dir.string()}, "/dev/full", {}});
    EXPECT_EQ(result.exit_code, 74);
    EXPECT_TRUE(contains(result.err, "cannot write the curve")) << result.err;
}

TEST(ReportCommand, SeveralRunsStandOnOnePageUnderDifferentNames) {
    const MadeRun first;
    const MadeRun second;
    const fs::path page = first.root / "page.html";
    const Result result = kiban({"report", first.run_dir.string(), second.run_dir.string(), "-o", page.string()});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const std::string html = monitoring::read_text(page);
    EXPECT_TRUE(contains(html, "made (" + second.run_dir.string() + ")"));
    EXPECT_TRUE(contains(html, "gpt2 4x128"));
    const Result unwritable = kiban({"report", first.run_dir.string(), "-o", "/nowhere/page.html"});
    EXPECT_EQ(unwritable.exit_code, 74);
    EXPECT_TRUE(contains(unwritable.err, "/nowhere")) << unwritable.err;
}

// --- Verify and inspect ---

TEST(VerifyCommand, AGoodRunIsGoodInAllItsParts) {
    const MadeRun made;
    const Result result = kiban({"verify", made.run_dir.string()});
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
    for (const std::string part :
         {"good  run.toml: ", "good  curve: 20 steps", "good  ckpt/step-000000000020-a000001: 3 files, 6 tensors",
          "good  ckpt/step-000000000010-a000001: ", "1 token shards", "every byte is good\n"}) {
        EXPECT_TRUE(contains(result.out, part)) << part << result.out;
    }
    EXPECT_EQ(kiban({"verify", made.older_checkpoint.string()}).exit_code, 0);
}

TEST(VerifyCommand, EveryDamagedPartIsListed) {
    const MadeRun made;
    damage(made.newest_checkpoint / "shard-00000.h5", -8);
    damage(made.token_shard, -8);
    damage(made.run_dir / "curve" / "curve.log", 40);
    const Result result = kiban({"verify", made.run_dir.string()});
    EXPECT_EQ(result.exit_code, 74);
    EXPECT_TRUE(contains(result.out, "BAD   ckpt/step-000000000020-a000001: ")) << result.out;
    EXPECT_TRUE(contains(result.out, "good  ckpt/step-000000000010-a000001: ")) << result.out;
    EXPECT_TRUE(contains(result.out, "BAD   " + made.token_shard.string() + ": its SHA-256 is ")) << result.out;
    EXPECT_TRUE(contains(result.out, "BAD   curve: ")) << result.out;
    EXPECT_TRUE(contains(result.out, " faults\n")) << result.out;
    EXPECT_EQ(kiban({"verify", made.newest_checkpoint.string()}).exit_code, 74);
    EXPECT_EQ(kiban({"verify", made.older_checkpoint.string()}).exit_code, 0);
}

TEST(VerifyCommand, AnotherCorpusThanTheTrainedOneIsAFault) {
    const MadeRun made;
    write_corpus_reference(RunDirectory(made.run_dir), {made.manifest, std::string(64, 'a')});
    const Result result = kiban({"verify", made.run_dir.string()});
    EXPECT_EQ(result.exit_code, 74);
    EXPECT_TRUE(contains(result.out, "expected " + std::string(64, 'a') + ", which the run was trained on"))
        << result.out;
}

// --- Repair and pin ---

TEST(RepairCommand, ReportsAndDropsOnlyWhenToldTo) {
    const MadeRun made;
    EXPECT_TRUE(contains(kiban({"repair", made.run_dir.string()}).out, "nothing to repair\n"));
    damage(made.newest_checkpoint / "shard-00000.h5", -8);
    const Result report = kiban({"repair", made.run_dir.string()});
    EXPECT_EQ(report.exit_code, 74);
    EXPECT_TRUE(contains(report.out, "good  step-000000000010-a000001\n")) << report.out;
    EXPECT_TRUE(contains(report.out, "BAD   step-000000000020-a000001: ")) << report.out;
    EXPECT_TRUE(contains(report.out, "1 damaged; --drop moves them out of the way\n")) << report.out;
    EXPECT_TRUE(std::filesystem::exists(made.newest_checkpoint));
    const Result dropped = kiban({"repair", made.run_dir.string(), "--drop"});
    EXPECT_EQ(dropped.exit_code, 0) << dropped.out;
    EXPECT_TRUE(contains(dropped.out, "moved to " + (made.run_dir / "ckpt" / ".damaged").string())) << dropped.out;
    EXPECT_FALSE(std::filesystem::exists(made.newest_checkpoint));
    EXPECT_EQ(kiban({"verify", made.run_dir.string()}).exit_code, 0);
}

TEST(RepairCommand, NeverTakesTheLastCheckpointsAway) {
    const MadeRun made;
    damage(made.newest_checkpoint / "shard-00000.h5", -8);
    damage(made.older_checkpoint / "shard-00000.h5", -8);
    const Result result = kiban({"repair", made.run_dir.string(), "--drop"});
    EXPECT_EQ(result.exit_code, 74);
    EXPECT_TRUE(contains(result.out, "no sound checkpoint would remain: nothing was moved\n")) << result.out;
    EXPECT_TRUE(std::filesystem::exists(made.newest_checkpoint));
}

TEST(PinCommand, PinsACheckpointAndShowsIt) {
    const MadeRun made;
    EXPECT_EQ(kiban({"pin", made.run_dir.string(), "--step", "10"}).out, "step-000000000010-a000001 is pinned\n");
    const auto json = nlohmann::json::parse(kiban({"status", made.run_dir.string(), "--json"}).out);
    EXPECT_EQ(json.at("checkpoints")[0].at("pinned"), false);
    EXPECT_EQ(json.at("checkpoints")[1].at("pinned"), true);
    EXPECT_TRUE(contains(kiban({"verify", made.run_dir.string()}).out, ", pinned\n"));
    EXPECT_EQ(kiban({"pin", made.run_dir.string(), "--step", "10", "--remove"}).exit_code, 0);
    EXPECT_FALSE(contains(kiban({"verify", made.run_dir.string()}).out, ", pinned\n"));
    const Result unknown = kiban({"pin", made.run_dir.string(), "--step", "11"});
    EXPECT_EQ(unknown.exit_code, 64) << unknown.err;
    EXPECT_TRUE(contains(unknown.err, "it has checkpoints of the steps 20, 10")) << unknown.err;
}

TEST(InspectCommand, ACheckpointShowsStateAndTensors) {
    const MadeRun made;
    const Result result = kiban({"inspect", made.older_checkpoint.string()});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(contains(result.out, "step 10, attempt 1\n")) << result.out;
    EXPECT_TRUE(contains(result.out, "  tokens               640\n")) << result.out;
    EXPECT_TRUE(contains(result.out, "6 tensors, 576 B\n")) << result.out;
    EXPECT_TRUE(contains(result.out, "\n  embedding.weight       f32   [6, 4]                192 B  param exp_avg\n"))
        << result.out;
    EXPECT_LT(result.out.find("layers.2.norm.weight"), result.out.find("layers.10.norm.weight"));
    EXPECT_TRUE(contains(kiban({"inspect", made.run_dir.string()}).out, "step 20, attempt 1\n"));
    EXPECT_TRUE(
        contains(kiban({"inspect", (made.older_checkpoint / "shard-00000.h5").string()}).out, "step 10, attempt 1\n"));
    EXPECT_EQ(kiban({"inspect", made.older_checkpoint.string(), "--run-file"}).out,
              monitoring::read_text(made.run_dir / "run.toml"));
}

TEST(InspectCommand, ATokenShardShowsItsFirstText) {
    const MadeRun made;
    const Result result = kiban({"inspect", made.token_shard.string()});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(contains(result.out, "documents    1\n")) << result.out;
    EXPECT_TRUE(contains(result.out, "  | line 0 of the text\n  | line 1 of the text\n")) << result.out;
}

TEST(InspectCommand, AManifestShowsItsSources) {
    const MadeRun made;
    const Result result = kiban({"inspect", made.manifest.string()});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(contains(result.out, "1 sources\n  text.txt\n    1 documents")) << result.out;
}

TEST(InspectCommand, WhatItDoesNotKnowIsRefused) {
    const Result result = kiban({"inspect", "/etc/passwd"});
    EXPECT_EQ(result.exit_code, 64);
    EXPECT_TRUE(contains(result.err, "expected a checkpoint directory")) << result.err;
    EXPECT_EQ(kiban({"inspect", "/nowhere"}).exit_code, 74);
}

// --- Doctor ---

TEST(DoctorCommand, WithoutALauncherTheMachineDoesNotFit) {
    const Result result = run({{"doctor", "--dir", "/tmp"}, "", {"PATH=/nowhere"}});
    EXPECT_EQ(result.exit_code, 78);
    EXPECT_TRUE(contains(result.out, "MISSING  mpirun           neither mpirun nor srun is in PATH")) << result.out;
    EXPECT_TRUE(contains(result.out, "ok       loopback         127.0.0.1:")) << result.out;
    EXPECT_TRUE(contains(result.out, "a second written and fsynced in /tmp")) << result.out;
}

TEST(DoctorCommand, ADirectoryThatCannotBeWrittenIsNamed) {
    const Result result = run({{"doctor", "--dir", "/nowhere"}, "", {}});
    EXPECT_EQ(result.exit_code, 78);
    EXPECT_TRUE(contains(result.out, "MISSING  disk")) << result.out;
    EXPECT_TRUE(contains(result.out, "/nowhere")) << result.out;
}

}  // namespace
}  // namespace kiban::coordinator
