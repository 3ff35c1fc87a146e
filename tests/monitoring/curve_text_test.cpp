// SPDX-License-Identifier: Apache-2.0
// The record as text: CSV, and OpenMetrics for an archive.
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "monitoring/curve.h"
#include "tests/monitoring/process.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {
namespace {

CurveRow row_of(std::uint64_t step) {
    const auto s = static_cast<double>(step);
    CurveRow row;
    row.step = step;
    row.tokens = 768 * step;
    row.loss = 5 / std::sqrt(s);
    row.learning_rate = 1e-3 / s;
    row.grad_norm = 0.1 + s / 3;
    if (step % 5 == 0) row.eval_loss = 6 / std::sqrt(s);
    return row;
}

TEST(Csv, PrintsTheShortestFormThatReadsBackAndLeavesOutWhatWasNotEvaluated) {
    CurveRow first;
    first.step = 1;
    first.tokens = 768;
    first.loss = 0.1;
    first.learning_rate = 1e-5;
    first.grad_norm = 3;
    CurveRow second = first;
    second.step = 2;
    second.tokens = 1536;
    second.loss = 0.1 + 0.2;
    second.eval_loss = 2.5;
    second.eval_accuracy = 0.125;
    second.step_seconds = 0.25;
    second.wall_time = 1700000000.5;
    second.attempt = 3;
    std::ostringstream plain;
    write_csv(plain, {first, second}, /*with_timing=*/false);
    EXPECT_EQ(plain.str(),
              "step,tokens,loss,learning_rate,grad_norm,eval_loss,eval_accuracy\n"
              "1,768,0.1,1e-05,3,,\n"
              "2,1536,0.30000000000000004,1e-05,3,2.5,0.125\n");
    std::ostringstream timed;
    write_csv(timed, {second}, /*with_timing=*/true);
    EXPECT_EQ(timed.str(),
              "step,tokens,loss,learning_rate,grad_norm,eval_loss,eval_accuracy,step_seconds,wall_time,attempt\n"
              "2,1536,0.30000000000000004,1e-05,3,2.5,0.125,0.25,1700000000.5,3\n");
}

// Its documents are forgotten: it made no update, and nothing was measured.
TEST(AStepWithoutTargets, HasNoLossAndNoNormInAnyText) {
    CurveRow row = row_of(4);
    row.loss = std::numeric_limits<double>::quiet_NaN();
    row.grad_norm = 0;
    std::ostringstream csv;
    write_csv(csv, {row}, /*with_timing=*/false);
    EXPECT_TRUE(contains(csv.str(), "\n4,3072,,")) << csv.str();
    std::ostringstream metrics;
    write_openmetrics(metrics, {row}, "demo");
    EXPECT_FALSE(contains(metrics.str(), "\nkiban_train_loss_nats{")) << metrics.str();
    EXPECT_FALSE(contains(metrics.str(), "\nkiban_grad_norm{")) << metrics.str();
    EXPECT_TRUE(contains(metrics.str(), "\nkiban_learning_rate{")) << metrics.str();
}

TEST(OpenMetrics, HoldsEveryStepOnItsSecondFrom2000) {
    std::ostringstream out;
    write_openmetrics(out, {row_of(4), row_of(5)}, "a \"run\"\\\n");
    const std::string text = out.str();
    const std::string labels = R"({run="a \"run\"\\\n",axis="step"})";
    EXPECT_TRUE(
        contains(text, "# TYPE kiban_train_loss_nats gauge\nkiban_train_loss_nats" + labels + " 2.5 946684804\n"))
        << text;
    EXPECT_TRUE(contains(text, "kiban_train_tokens_seen" + labels + " 3072 946684804\n")) << text;
    EXPECT_TRUE(contains(text, "kiban_train_tokens_seen" + labels + " 3840 946684805\n")) << text;
    EXPECT_TRUE(contains(text, "split=\"holdout\"} ")) << text;
    EXPECT_FALSE(contains(text, "split=\"holdout\"} NaN")) << text;
    EXPECT_TRUE(text.ends_with("# EOF\n"));
}

TEST(OpenMetrics, IsTakenByPromtoolAndEverySampleComesBack) {
    const TempDirectory directory;
    std::vector<CurveRow> rows;
    for (std::uint64_t step = 1; step <= 50; ++step) rows.push_back(row_of(step));
    rows[9].loss = std::numeric_limits<double>::infinity();
    std::ostringstream out;
    write_openmetrics(out, rows, "demo");
    spill(directory / "curve.om", out.str());
    const Finished made = run_process(
        {"promtool", "tsdb", "create-blocks-from", "openmetrics", directory / "curve.om", directory / "tsdb"});
    ASSERT_EQ(made.exit_code, 0) << made.output;
    std::filesystem::create_directory(directory / "tsdb/wal");  // which a server would have made
    const Finished dumped = run_process({"promtool", "tsdb", "dump", directory / "tsdb"});
    ASSERT_EQ(dumped.exit_code, 0) << dumped.output;
    const std::string loss = R"({__name__="kiban_train_loss_nats", axis="step", run="demo"} )";
    EXPECT_TRUE(contains(dumped.output, loss + "2.5 946684804000\n")) << dumped.output;
    EXPECT_TRUE(contains(dumped.output, loss + "+Inf 946684810000\n"));
    std::size_t samples = 0;
    for (const char character : dumped.output) samples += character == '\n' ? 1 : 0;
    EXPECT_EQ(samples, 4u * 50u + 10u);  // four families at every step, the holdout loss at every fifth
}

}  // namespace
}  // namespace kiban::monitoring
