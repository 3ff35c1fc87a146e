// SPDX-License-Identifier: Apache-2.0
// What the real `kiban` tells of the events on a curve.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>

#include "monitoring/curve.h"
#include "tests/coordinator/kiban_process.h"
#include "tests/coordinator/made_run.h"

namespace kiban::coordinator {
namespace {

// 400 steps along a line of the logarithm, with a spike at step 300.
void train_with_a_spike(const MadeRun& made) {
    monitoring::CurveWriter writer(made.run_dir / "curve");
    writer.begin_attempt(2, 0);
    for (std::uint64_t step = 1; step <= 400; ++step) {
        monitoring::CurveRow row;
        row.step = step;
        row.tokens = step * 64;
        row.loss = 6 - 0.5 * std::log2(static_cast<double>(step)) + (step % 2 == 0 ? 0.01 : -0.01);
        if (step == 300) row.loss += 5;
        row.grad_norm = 1;
        row.attempt = 2;
        writer.append(row);
    }
}

TEST(CurveCommand, ListsTheEventsFoundOnTheCurve) {
    const MadeRun made;
    EXPECT_EQ(kiban({"curve", made.run_dir.string(), "--events"}).out,
              "step,tokens,kind,series,since_step,value,size,detail\n");
    train_with_a_spike(made);
    const Result result = kiban({"curve", made.run_dir.string(), "--events"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_TRUE(contains(result.out, "\n300,19200,spike,train_loss,300,")) << result.out;
    EXPECT_TRUE(contains(result.out, "\n301,19264,spike_recovered,train_loss,300,")) << result.out;
    EXPECT_EQ(kiban({"curve", made.run_dir.string(), "--events", "--csv"}).exit_code, 64);
}

TEST(CurveCommand, ListsTheSegmentsOfTheCurve) {
    const MadeRun made;
    train_with_a_spike(made);
    const Result result = kiban({"curve", made.run_dir.string(), "--segments"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_TRUE(contains(result.out, "from_step,to_step,begin_loss,end_loss,nats_per_doubling\n1,")) << result.out;
    const std::string first = result.out.substr(result.out.find("\n1,"));
    EXPECT_NEAR(std::stod(first.substr(first.find(",-") + 1)), -0.5, 0.01) << result.out;
}

TEST(Status, OfADeadRunShowsPhaseAndEventsOfItsRecord) {
    const MadeRun made;
    train_with_a_spike(made);
    const Result result = kiban({"status", made.run_dir.string()});
    EXPECT_TRUE(contains(result.out, "\n  phase       learning\n")) << result.out;
    EXPECT_TRUE(contains(result.out, "\n  curve       step 300: spike of train_loss: ")) << result.out;
    const auto json = nlohmann::json::parse(kiban({"status", made.run_dir.string(), "--json"}).out);
    EXPECT_EQ(json.at("phase"), "learning");
    EXPECT_EQ(json.at("curve_events").size(), 2u);
}

}  // namespace
}  // namespace kiban::coordinator
