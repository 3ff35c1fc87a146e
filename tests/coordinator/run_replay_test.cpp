// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "coordinator/run/replay.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

using monitoring::CurveRow;

CurveRow recorded(std::uint64_t step) {
    return {.step = step, .tokens = 100 * step, .loss = 2.0, .learning_rate = 1e-3, .grad_norm = 0.5, .attempt = 7};
}

StepReport replayed(std::uint64_t step) {
    StepReport report;
    report.step = step;
    report.tokens = 100 * step;
    report.loss = 2.0;
    report.learning_rate = 1e-3;
    report.grad_norm = 0.5;
    return report;
}

TEST(ReplayComparison, EqualStepsCertifyEitherLevel) {
    ReplayComparison comparison;
    comparison.add(recorded(1), replayed(1));
    comparison.add(recorded(2), replayed(2));
    EXPECT_EQ(comparison.equal_steps, 2u);
    EXPECT_FALSE(fault_of(comparison, "exact"));
    EXPECT_FALSE(fault_of(comparison, "sample-exact: workers: saved 1, now 2"));
}

TEST(ReplayComparison, TheLastBitOfAnyColumnBreaksExactnessAndIsNamed) {
    const auto next = [](double value) { return std::nextafter(value, 10.0); };
    const std::vector<std::pair<const char*, std::function<void(StepReport&)>>> changes = {
        {"loss", [&](StepReport& report) { report.loss = next(report.loss); }},
        {"gradient norm", [&](StepReport& report) { report.grad_norm = next(report.grad_norm); }},
        {"learning rate", [&](StepReport& report) { report.learning_rate = next(report.learning_rate); }},
        {"tokens", [&](StepReport& report) { ++report.tokens; }},
        {"holdout loss", [&](StepReport& report) { report.eval_loss = next(3.0); }},
    };
    for (const auto& [column, change] : changes) {
        CurveRow row = recorded(12);
        row.eval_loss = 3.0;
        StepReport report = replayed(12);
        change(report);
        ReplayComparison comparison;
        comparison.add(row, report);
        const auto fault = fault_of(comparison, "exact");
        ASSERT_TRUE(fault) << column;
        EXPECT_EQ(fault->find(std::string("step 12: ") + column), 0u) << *fault;
        EXPECT_NE(fault->find("attempt 7"), std::string::npos) << *fault;
    }
}

TEST(ReplayComparison, AnEvaluationThatOnlyOneOfTheTwoMadeIsNotCompared) {
    ReplayComparison comparison;
    StepReport report = replayed(1);
    report.eval_loss = 3.0;
    comparison.add(recorded(1), report);
    EXPECT_EQ(comparison.equal_steps, 1u);
}

TEST(ReplayComparison, SampleExactForgivesRoundingButNoOtherBatch) {
    ReplayComparison rounding;
    StepReport report = replayed(1);
    report.loss *= 1 + 1e-7;
    rounding.add(recorded(1), report);
    EXPECT_TRUE(fault_of(rounding, "exact"));
    EXPECT_FALSE(fault_of(rounding, "sample-exact: threads"));

    ReplayComparison tokens;
    report = replayed(1);
    report.tokens += 1;
    tokens.add(recorded(1), report);
    EXPECT_TRUE(fault_of(tokens, "sample-exact: threads"));

    ReplayComparison loss;
    report = replayed(1);
    report.loss *= 1 + 2 * kSampleExactTolerance;
    loss.add(recorded(1), report);
    EXPECT_TRUE(fault_of(loss, "sample-exact: threads"));

    ReplayComparison no_number;
    report = replayed(1);
    report.loss = std::numeric_limits<double>::quiet_NaN();
    no_number.add(recorded(1), report);
    EXPECT_TRUE(fault_of(no_number, "sample-exact: threads"));
}

TEST(ReplayComparison, BehindAResumeInAnotherWorldBitsMayDifferButNotBatches) {
    ReplayComparison rounding;
    StepReport report = replayed(1);
    report.loss *= 1 + 1e-7;
    rounding.add(recorded(1), report, /*same_world=*/false);
    EXPECT_FALSE(fault_of(rounding, "exact"));
    EXPECT_EQ(rounding.equal_steps, 0u);

    ReplayComparison loss;
    report.loss = 2.1;
    loss.add(recorded(1), report, /*same_world=*/false);
    EXPECT_TRUE(fault_of(loss, "exact"));

    ReplayComparison tokens;
    report = replayed(1);
    ++report.tokens;
    tokens.add(recorded(1), report, /*same_world=*/false);
    EXPECT_TRUE(fault_of(tokens, "exact"));
}

TEST(InexactAttempts, AreThoseWhoseResumeSaidSo) {
    const std::vector<nlohmann::json> journal = {
        {{"event", "training"}, {"attempt", 2}, {"exactness", "exact"}},
        {{"event", "training"}, {"attempt", 3}, {"exactness", "sample-exact: workers was 2, is 1"}},
        {{"event", "attempt_ended"}, {"attempt", 4}}};
    EXPECT_EQ(inexact_attempts(journal), std::set<std::uint32_t>{3});
}

TEST(ReplayComparison, NothingReplayedCertifiesNothing) { EXPECT_TRUE(fault_of({}, "exact")); }

TEST(Replayable, IsTheNewestCheckpointWithEnoughRecordedStepsAfterIt) {
    std::vector<CurveRow> rows;
    for (std::uint64_t step = 1; step <= 25; ++step) rows.push_back(recorded(step));
    EXPECT_EQ(replayable({20, 10, 0}, rows, 5), 0u);
    EXPECT_EQ(replayable({20, 10, 0}, rows, 6), 1u);
    EXPECT_EQ(replayable({20, 10, 0}, rows, 25), 2u);
    try {
        replayable({20, 10}, rows, 16);
        FAIL() << "26 steps after nothing";
    } catch (const CheckpointError& error) {
        EXPECT_STREQ(error.what(),
                     "cannot replay 16 steps: the curve ends at step 25, and its 2 good checkpoint(s) have at most 15 "
                     "recorded steps after them");
    }
    EXPECT_THROW(replayable({30}, rows, 1), CheckpointError) << "a checkpoint beyond the curve";
    EXPECT_THROW(replayable({}, {}, 1), CheckpointError);
}

}  // namespace
}  // namespace kiban::coordinator
