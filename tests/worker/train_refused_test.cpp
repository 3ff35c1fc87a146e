// SPDX-License-Identifier: Apache-2.0
// Steps that all workers refuse, rows that are left out, and steps that have nothing to learn from.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <sstream>

#include "checkpoint/reader.h"
#include "data/corpus.h"
#include "data/prepare.h"
#include "data/trace.h"
#include "monitoring/error.h"
#include "tests/worker/train_jobs.h"

namespace kiban::worker {
namespace {

using coordinator::Job;
using coordinator::StepReport;

constexpr auto kRows = kSmallRunRows;

std::vector<double> losses_of(const std::vector<StepReport>& steps) {
    std::vector<double> losses;
    for (const StepReport& step : steps) losses.push_back(step.loss);
    return losses;
}

// Weights that are spent give no batch a finite loss: the third one in a row ends the attempt on all workers.
TEST_F(Jobs, NonFiniteStepsAreRefusedByAllBeforeTheUpdateAndTheThirdInARowEndsTheAttempt) {
    const auto heard = run({.job = job({"train.optimizer.learning_rate=1e30", "train.schedule.name=constant",
                                        "train.schedule.warmup_steps=0"})});
    EXPECT_TRUE(
        failure_.starts_with("NonFiniteError: step 2 was refused (rows 24 to 31 of the order): it is not "
                             "finite: loss "))
        << failure_;
    if (!heard) return;
    EXPECT_EQ(heard->steps.size(), 1U);
    ASSERT_EQ(heard->refused.size(), 3U);
    for (std::uint64_t i = 0; i < 3; ++i) {
        EXPECT_EQ(heard->refused[i].step, 2U);
        EXPECT_EQ(heard->refused[i].position, kRows * (i + 1));
        EXPECT_EQ(heard->refused[i].rows, kRows);
        EXPECT_EQ(heard->refused[i].kind, "non_finite");
        EXPECT_EQ(heard->refused[i].roll_back, i == 2);
    }
    EXPECT_EQ(heard->failures.size(), static_cast<std::size_t>(ranks()));
    EXPECT_EQ(heard->failures.at(0).step, 2U);
    EXPECT_EQ(heard->failures.at(0).exit_code, kExitInternal);
    EXPECT_EQ(heard->committed.size(), 1U) << "nothing was saved after step 0";
}

TEST_F(Jobs, RowsThatTheJobLeavesOutAreSeenByNoStep) {
    Job without = job();
    without.options = {{"left_out", {{3 * kRows, 2 * kRows}}}};
    const auto whole = run({.job = job()});
    const auto heard = run({.job = without});
    ASSERT_EQ(failure_, "");
    if (!heard) return;
    ASSERT_EQ(heard->steps.size(), 12U);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(heard->steps[i].loss, whole->steps[i].loss) << i;
    EXPECT_NE(heard->steps[3].loss, whole->steps[3].loss);
    EXPECT_EQ(heard->stages.back().state.at("position"), 14 * kRows);
    EXPECT_EQ(heard->stages.back().state.at("anomalies").at("judged"), 12);
}

// One source keeps its rows however it weighs: only the judgement begins anew.
TEST_F(Jobs, StepsOfAnotherMixtureAreJudgedByThemselves) {
    Job mixed = job();
    const std::vector<data::MixtureSegment> mixture = {{0, {1}}, {3 * kRows, {2}}};
    mixed.options = {{"mixture", data::to_json(mixture)}};
    const auto whole = run({.job = job()});
    const auto heard = run({.job = mixed});
    Job resumed = job({}, shared(heard ? heard->committed[1] : ""));  // of step 5
    resumed.options = mixed.options;
    const auto after = run({.job = resumed});
    ASSERT_EQ(failure_, "");
    if (!heard) return;
    EXPECT_EQ(losses_of(heard->steps), losses_of(whole->steps));
    EXPECT_EQ(heard->stages.back().state.at("anomalies").at("judged"), 9);
    EXPECT_EQ(heard->stages.back().state.at("mixture"), data::to_json(mixture));
    EXPECT_EQ(after->stages.back().state.at("anomalies").at("judged"), 9);
}

// A window of two steps calls the third a spike; the state tells a resume what was usual.
TEST_F(Jobs, AResumeJudgesStepsByWhatWasUsualBefore) {
    const std::vector<std::string> strict = {"anomaly.window_steps=4", "anomaly.spike_norm_ratio=1.02",
                                             "anomaly.max_consecutive=1000", "anomaly.max_in_window=1000"};
    const auto whole = run({.job = job(strict)});
    const std::string saved = shared(whole ? whole->committed[1] : "");
    const auto after = run({.job = job(strict, saved)});
    ASSERT_EQ(failure_, "");
    if (!after) return;
    ASSERT_EQ(after->steps.size(), 7U);
    const std::vector<StepReport> expected(whole->steps.begin() + 5, whole->steps.end());
    EXPECT_EQ(losses_of(after->steps), losses_of(expected));
    EXPECT_GT(whole->refused.size(), 0U) << "norms that rise by 2 % are no rarity";
    EXPECT_EQ(after->stages.back().state.at("anomalies"), whole->stages.back().state.at("anomalies"));
    EXPECT_EQ(after->stages.back().state.at("position"), whole->stages.back().state.at("position"));
}

// Many documents of a line each instead of the text, so that those of one step can be forgotten.
class Forgetting : public Jobs {
  protected:
    void SetUp() override {
        Jobs::SetUp();
        if (me() == 0) {
            std::ofstream lines(directory_ / "lines.jsonl");
            std::istringstream text(small_text());
            std::size_t number = 0;
            for (std::string line; std::getline(text, line);)
                lines << nlohmann::json{{"text", fmt::format("{} {}", number++, line)}}.dump() << "\n";
            lines.close();
            data::prepare_here(run_file({kLines}).data, directory_, directory_ / "corpora");
        }
        test_world().barrier();
    }

    Job lines_job(std::vector<std::string> overrides, const std::string& checkpoint = "") const {
        overrides.emplace_back(kLines);
        return job(overrides, checkpoint);
    }

    // Every document that a row of steps [first, end) reads a token of.
    void forget_steps(std::uint64_t first, std::uint64_t end) {
        if (me() == 0) {
            const Job named = lines_job({});
            const data::Corpus corpus(data::Manifest::load(named.manifest), {1.0}, kSmallRunTokens,
                                      run_file().run.seed);
            data::CorpusTrace trace(corpus);
            std::ofstream list(directory_ / "forget");
            for (std::uint64_t row = (first - 1) * kRows; row < (end - 1) * kRows; ++row) {
                for (const data::TracedPart& part : trace.row_at(row).parts) list << part.document << "\n";
            }
        }
        test_world().barrier();
    }

    static constexpr const char* kLines = "data.sources.0.path=lines.jsonl";
};

std::vector<std::uint64_t> fingerprints_of(const std::string& checkpoint) {
    const checkpoint::CheckpointReader reader(checkpoint);
    std::vector<std::uint64_t> all;
    for (const checkpoint::TensorInfo& tensor : reader.tensors()) all.push_back(reader.fingerprint_of(tensor.id));
    return all;
}

TEST_F(Forgetting, AStepWithoutATargetChangesNothingAndCountsOnEveryLayout) {
    forget_steps(3, 4);
    std::vector<std::vector<std::string>> layouts = {{}, {"train.reduction=fixed"}, {"parallel.zero=3"}};
    if (ranks() == 2) {
        layouts.push_back({"parallel.tensor=2"});
        layouts.push_back({"parallel.pipeline=2"});
    }
    for (std::vector<std::string> settings : layouts) {
        settings.emplace_back("data.forget=forget");
        const auto heard = run({.job = lines_job(settings)});
        ASSERT_EQ(failure_, "") << settings[0];
        if (!heard) continue;
        ASSERT_EQ(heard->steps.size(), 12U);
        EXPECT_EQ(heard->refused.size(), 0U);
        for (const StepReport& step : heard->steps) {
            EXPECT_EQ(step.step_tokens == 0, step.step == 3) << step.step;
            EXPECT_EQ(std::isnan(step.loss), step.step == 3) << step.step;
            EXPECT_EQ(step.grad_norm == 0, step.step == 3) << step.step;
        }
        EXPECT_EQ(heard->steps[2].tokens, heard->steps[1].tokens);
        EXPECT_EQ(heard->stages.back().state.at("position"), 12 * kRows);
        EXPECT_EQ(heard->stages.back().state.at("anomalies").at("judged"), 11);
    }
}

TEST_F(Forgetting, AStepWithoutATargetLeavesTheWeightsBeforeItAndAResumeGoesOnWithTheSameBits) {
    forget_steps(6, 7);
    const auto ends_there = run({.job = lines_job({"data.forget=forget", "train.steps=6"})});
    const auto whole = run({.job = lines_job({"data.forget=forget"})});
    const std::string saved = shared(whole ? whole->committed[1] : "");
    const auto after = run({.job = lines_job({"data.forget=forget"}, saved)});
    ASSERT_EQ(failure_, "");
    if (!after) return;
    ASSERT_EQ(ends_there->stages.size(), 3U);  // of steps 0, 5 and 6
    EXPECT_EQ(fingerprints_of(ends_there->committed[1]), fingerprints_of(ends_there->committed[2]));
    EXPECT_NE(fingerprints_of(ends_there->committed[0]), fingerprints_of(ends_there->committed[1]));
    EXPECT_EQ(after->loads[0].exactness, "exact");
    ASSERT_EQ(after->steps.size(), 7U);
    EXPECT_EQ(after->steps[0].step_tokens, 0U);
    for (std::size_t i = 1; i < 7; ++i) EXPECT_EQ(after->steps[i].loss, whole->steps[5 + i].loss) << i;
}

TEST_F(Forgetting, ARunWhoseDocumentsAreAllForgottenEndsWithTheWeightsItBeganWith) {
    forget_steps(1, 1 + 12 * 20);
    const auto heard = run({.job = lines_job({"data.forget=forget"})});
    ASSERT_EQ(failure_, "");
    if (!heard) return;
    ASSERT_EQ(heard->steps.size(), 12U);
    EXPECT_EQ(heard->steps.back().tokens, 0U);
    EXPECT_EQ(fingerprints_of(heard->committed.front()), fingerprints_of(heard->committed.back()));
}

}  // namespace
}  // namespace kiban::worker
