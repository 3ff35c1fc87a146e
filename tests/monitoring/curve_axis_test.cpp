// SPDX-License-Identifier: Apache-2.0
// The record on the token axis of an archive.
#include "monitoring/curve_axis.h"

#include <gtest/gtest.h>

#include <sstream>

#include "tests/monitoring/process.h"
#include "tests/monitoring/simulated_run.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {
namespace {

TEST(OpenMetrics, OnTheTokenAxisASecondIsAHundredThousandTokens) {
    std::vector<CurveRow> rows = {row_of(1, 2), row_of(2, 2), row_of(3, 7), row_of(4, 2)};
    rows[0].tokens = 100'000;
    rows[1].tokens = 250'050;
    rows[2].tokens = 250'099;  // in the same millisecond: the last is kept
    rows[3].tokens = 1'000'000'000'000;
    std::ostringstream out;
    write_openmetrics(out, rows, "demo", CurveAxis::tokens);
    const std::string series = "kiban_train_loss_nats{run=\"demo\",axis=\"tokens\"} ";
    EXPECT_TRUE(contains(out.str(), series + "2 946684801\n" + series + "7 946684802.500\n" + series + "2 956684800\n"))
        << out.str();
    const TempDirectory directory;
    spill(directory / "curve.om", out.str());
    const Finished made = run_process(
        {"promtool", "tsdb", "create-blocks-from", "openmetrics", directory / "curve.om", directory / "tsdb"});
    EXPECT_EQ(made.exit_code, 0) << made.output;
}

}  // namespace
}  // namespace kiban::monitoring
