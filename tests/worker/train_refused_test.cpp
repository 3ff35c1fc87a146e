// SPDX-License-Identifier: Apache-2.0
// Steps that all workers refuse, and rows that are left out.
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace kiban::worker
