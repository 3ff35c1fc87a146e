// SPDX-License-Identifier: Apache-2.0
// A fork holds the parent's tensors and curve, and its own settings; the parent stays as it was.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "checkpoint/commit.h"
#include "checkpoint/copy.h"
#include "checkpoint/imported.h"
#include "checkpoint/reader.h"
#include "coordinator/config/run_file.h"
#include "coordinator/job/left_out.h"
#include "coordinator/run/fork_run.h"
#include "coordinator/run/history.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "data/digest.h"
#include "monitoring/curve.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/coordinator/kiban_process.h"
#include "tests/coordinator/made_run.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

class ForkedRun : public ::testing::Test {
  protected:
    ForkOptions options(std::vector<std::string> settings = {}) const {
        return {.parent = parent_.run_dir, .step = 10, .run_dir = fork_, .settings = std::move(settings)};
    }
    template <typename Failure = ConfigError>
    std::string refusal(const ForkOptions& options) const {
        try {
            fork_run(options);
        } catch (const Failure& error) {
            EXPECT_FALSE(fs::exists(fork_ / "run.toml")) << "a run file after: " << error.what();
            EXPECT_TRUE(checkpoint::list_checkpoints(fork_).empty());
            return error.what();
        }
        ADD_FAILURE() << "nothing was refused";
        return "";
    }
    // Of every file, by name.
    static std::string digest_of(const fs::path& directory) {
        std::vector<std::string> lines;
        for (const auto& entry : fs::recursive_directory_iterator(directory)) {
            if (!entry.is_regular_file()) continue;
            lines.push_back(entry.path().string() + data::sha256(monitoring::read_text(entry.path())));
        }
        std::sort(lines.begin(), lines.end());
        return data::sha256(fmt::format("{}", fmt::join(lines, "\n")));
    }
    static checkpoint::RunState state_of(const fs::path& directory) {
        return checkpoint::run_state_from_json(checkpoint::CheckpointReader(directory).state());
    }

    MadeRun parent_;
    fs::path fork_ = parent_.root / "runs/fork";
};

TEST_F(ForkedRun, HoldsTheParentsTensorsAndCurveAndLeavesTheParentAlone) {
    const std::string before = digest_of(parent_.run_dir);
    const ForkResult fork = fork_run(options({"train.optimizer.learning_rate=0.5", "run.name=hot"}));
    EXPECT_EQ(digest_of(parent_.run_dir), before);
    EXPECT_EQ(checkpoint::verify_checkpoint(fork.checkpoint).faults, std::vector<std::string>{});

    const checkpoint::CheckpointReader theirs(parent_.older_checkpoint);
    const checkpoint::CheckpointReader ours(fork.checkpoint);
    EXPECT_EQ(ours.step(), 10U);
    ASSERT_EQ(ours.tensors().size(), theirs.tensors().size());
    for (const auto& tensor : theirs.tensors())
        EXPECT_EQ(ours.fingerprint_of(tensor.id), theirs.fingerprint_of(tensor.id)) << to_string(tensor.id);

    const auto rows = monitoring::read_curve(RunDirectory(fork_).curve()).rows;
    ASSERT_EQ(rows.size(), 10U);
    EXPECT_EQ(rows.back().loss, 0.5) << "5 / step";
    const auto state = state_of(fork.checkpoint);
    EXPECT_EQ(state.data_digest, state_of(parent_.older_checkpoint).data_digest);
    EXPECT_FALSE(fork.other_rows);
    EXPECT_EQ(read_corpus_reference(RunDirectory(fork_)).digest, state.data_digest);
    const RunFile file = parse_saved_run_file(monitoring::read_text(fork.run_file), fork_, "fork");
    EXPECT_EQ(state.run_file, to_toml(file));
    EXPECT_EQ(file.train.optimizer.learning_rate, 0.5);
    EXPECT_EQ(file.run_dir(), fork_);
    EXPECT_EQ(file.corpora_dir(), parent_.root / "runs/corpora") << "nothing is prepared twice";
}

TEST_F(ForkedRun, NamesItsParentInTheJournal) {
    fork_run(options({"train.steps=40"}));
    const auto journal = read_journal(RunDirectory(fork_).journal());
    ASSERT_EQ(journal.size(), 1U);
    EXPECT_EQ(journal[0].at("event"), "forked");
    EXPECT_EQ(journal[0].at("parent"), run_id_of(RunDirectory(parent_.run_dir)));
    EXPECT_EQ(journal[0].at("step"), 10);
    EXPECT_NE(run_id_of(RunDirectory(fork_)), run_id_of(RunDirectory(parent_.run_dir)));
    const auto changes = journal[0].at("changes").get<std::vector<std::string>>();
    EXPECT_NE(std::find(changes.begin(), changes.end(), "train.steps: saved 20, now 40"), changes.end());
}

TEST_F(ForkedRun, WithOtherRowsIsBoundToNoCorpusYet) {
    std::ofstream(parent_.root / "other.txt") << "another text, of which no row was seen\n";
    const ForkResult fork = fork_run(options({"data.sources.0.path=other.txt", "run.seed=5"}));
    EXPECT_TRUE(fork.other_rows);
    EXPECT_FALSE(fs::exists(RunDirectory(fork_).corpus())) << "it is prepared when the run starts";
    const auto state = state_of(fork.checkpoint);
    EXPECT_TRUE(checkpoint::is_unbound(state));
    EXPECT_FALSE(checkpoint::is_import(state)) << "its optimizer is that of a trained run";
    EXPECT_EQ(state.step, 10U);
    EXPECT_EQ(state.seed, 5U);
    checkpoint::RunState now = state;  // of a worker that opens some corpus
    now.data_digest = "1234";
    EXPECT_NO_THROW(checkpoint::check_resumable(state, now));
}

TEST_F(ForkedRun, JudgesOtherTextByItsOwnLossesAlone) {
    checkpoint::RunState trained = state_of(parent_.older_checkpoint);
    trained.anomalies = {{"norms", {1.0, 2.0}}};
    checkpoint::copy_checkpoint(parent_.older_checkpoint, parent_.run_dir, 2, checkpoint::to_json(trained),
                                [] { return true; });
    EXPECT_EQ(state_of(fork_run(options()).checkpoint).anomalies, trained.anomalies) << "the same rows";
    ForkOptions apart = options({"model.attention=document"});
    apart.run_dir = parent_.root / "runs/apart";
    EXPECT_TRUE(state_of(fork_run(apart).checkpoint).anomalies.is_null()) << "the same rows, asked otherwise";
    std::ofstream(parent_.root / "other.txt") << "another text, of which no row was seen\n";
    ForkOptions other = options({"data.sources.0.path=other.txt"});
    other.run_dir = parent_.root / "runs/other";
    EXPECT_TRUE(state_of(fork_run(other).checkpoint).anomalies.is_null());
}

// Its parent changed the mixture at row 96 and left out rows before and behind that; the fork keeps the old one.
TEST_F(ForkedRun, LeavesOutNoOtherRowsInTheirPlaceAndKnowsWhichWereRefusedBeforeIt) {
    {
        Journal journal(RunDirectory(parent_.run_dir).journal());
        journal.add("mixture_changed",
                    {{"mixture", {{{"first", 0}, {"weights", {1}}}, {{"first", 96}, {"weights", {3}}}}}});
        journal.add("rows_left_out", {{"first", 64}, {"count", 32}, {"step", 3}, {"why", "quarantine"}});
        journal.add("rows_left_out", {{"first", 320}, {"count", 96}, {"step", 9}, {"why", "rollback"}});
        journal.add("step_refused", {{"step", 1}, {"position", 0}, {"rows", 8}});
        journal.add("step_refused", {{"step", 90}, {"position", 16}, {"rows", 8}});
    }
    checkpoint::RunState trained = state_of(parent_.older_checkpoint);
    trained.position = 16;
    checkpoint::copy_checkpoint(parent_.older_checkpoint, parent_.run_dir, 2, checkpoint::to_json(trained),
                                [] { return true; });
    fork_run(options());
    const auto journal = read_journal(RunDirectory(fork_).journal());
    EXPECT_EQ(to_json(left_out_rows(journal)).dump(), "[[64,32]]");
    ASSERT_EQ(refused_batches(journal).size(), 1U);
    EXPECT_EQ(refused_batches(journal)[0].rows.first, 0U);
}

TEST_F(ForkedRun, LeavesOutTheRowsThatItsParentLeavesOut) {
    {
        Journal journal(RunDirectory(parent_.run_dir).journal());
        journal.add("rows_left_out", {{"first", 64}, {"count", 32}, {"step", 3}, {"why", "quarantine"}});
        journal.add("rows_left_out", {{"first", 320}, {"count", 96}, {"step", 9}, {"why", "rollback"}});
    }
    fork_run(options());
    const auto journal = read_journal(RunDirectory(fork_).journal());
    EXPECT_EQ(to_json(left_out_rows(journal)).dump(), "[[64,32],[320,96]]");
    EXPECT_EQ(policy_state(journal).quarantined, (std::map<std::uint64_t, std::uint64_t>{{64, 3}}));
    ForkOptions other = options({"run.seed=5"});
    other.run_dir = parent_.root / "runs/other";
    fork_run(other);
    EXPECT_TRUE(left_out_rows(read_journal(RunDirectory(other.run_dir).journal())).empty())
        << "its rows are others, whatever their numbers";
}

TEST_F(ForkedRun, MayNotChangeWhatTheStoredTensorsAre) {
    const std::string text = refusal(options({"model.layers=6", "data.sequence_length=32", "train.clip_norm=2.0"}));
    EXPECT_TRUE(contains(text, "model.layers: saved 4, now 6")) << text;
    EXPECT_TRUE(contains(text, "data.sequence_length: saved 16, now 32")) << "gpt2's positions are weights\n" << text;
    EXPECT_FALSE(contains(text, "clip_norm")) << text;
    EXPECT_FALSE(fs::exists(fork_)) << "nothing is made";
}

TEST_F(ForkedRun, OfAStepWithoutACheckpointIsToldWhichThereAre) {
    ForkOptions other = options();
    other.step = 11;
    EXPECT_TRUE(contains(refusal(other), "it has those of 20, 10")) << refusal(other);
    other.step.reset();
    EXPECT_EQ(fork_run(other).step, 20U) << "the newest good one";
}

TEST_F(ForkedRun, IsRefusedWhereARunIs) {
    fork_run(options());
    EXPECT_TRUE(contains(
        [&] {
            try {
                fork_run(options());
            } catch (const ConfigError& error) {
                return std::string(error.what());
            }
            return std::string();
        }(),
        "it holds a run, or what is left of one"));
    EXPECT_TRUE(fs::exists(fork_ / "run.toml"));
}

TEST_F(ForkedRun, OfADamagedCheckpointLeavesNoCheckpoint) {
    damage(parent_.older_checkpoint / "shard-00000.h5", -8);
    EXPECT_TRUE(contains(refusal<CheckpointError>(options()), "shard-00000.h5"));
    EXPECT_TRUE(fs::is_empty(fork_ / "ckpt/.staging"));
}

TEST_F(ForkedRun, IsMadeByTheCommandWhichSaysHowToGoOn) {
    const Result result = kiban({"fork", parent_.run_dir.string(), "--step", "10", "--set", "train.steps=40"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const fs::path expected = parent_.run_dir.string() + "-fork-10";
    EXPECT_TRUE(contains(result.out, "train.steps: saved 20, now 40")) << result.out;
    EXPECT_TRUE(contains(result.out, "kiban pretrain " + (expected / "run.toml").string())) << result.out;
    EXPECT_EQ(kiban({"verify", expected.string()}).exit_code, 0);
    EXPECT_EQ(kiban({"fork", parent_.run_dir.string(), "--step", "10", "--run-dir", fork_.string(), "--set",
                     "model.layers=9"})
                  .exit_code,
              78);
}

}  // namespace
}  // namespace kiban::coordinator
