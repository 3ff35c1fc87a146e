// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <sstream>
#include <string>

#include "monitoring/run_metrics.h"
#include "tests/monitoring/process.h"
#include "tests/monitoring/simulated_run.h"

namespace kiban::monitoring {
namespace {

std::size_t series(const RunMetrics& metrics, const std::string& prefix = "") {
    std::size_t count = 0;
    std::istringstream lines(metrics.text());
    for (std::string line; std::getline(lines, line);)
        count += !line.starts_with("#") && line.starts_with(prefix) ? 1U : 0U;
    return count;
}

TEST(RunMetricsHealth, NothingIsClaimedBeforeTheFirstEvaluation) {
    const RunMetrics metrics(identity());
    for (const char* name : {"kiban_health_step", "kiban_param_norm", "kiban_activation_rms", "kiban_output_logit_max"})
        EXPECT_FALSE(exposes(metrics, std::string(name) + "{")) << name;
}

TEST(RunMetricsHealth, WhatWorkersSaidIsShownByGroupAndByLayer) {
    RunMetrics metrics(identity());
    ModelHealth health = health_of(2);
    health.groups = {{"mlp", 50, 0.05}};
    health.layers[1].kurtosis = std::numeric_limits<double>::quiet_NaN();
    metrics.health(250, health);
    EXPECT_EQ(value_of(metrics, "kiban_health_step"), 250);
    EXPECT_EQ(value_of(metrics, "kiban_param_norm", "run=\"demo\",group=\"mlp\""), 50);
    EXPECT_EQ(value_of(metrics, "kiban_update_norm", "run=\"demo\",group=\"mlp\""), 0.05);
    EXPECT_DOUBLE_EQ(value_of(metrics, "kiban_update_to_param_ratio", "run=\"demo\",group=\"mlp\""), 0.001);
    EXPECT_EQ(value_of(metrics, "kiban_activation_rms", "run=\"demo\",layer=\"1\""), 2);
    EXPECT_EQ(value_of(metrics, "kiban_attention_entropy_nats", "run=\"demo\",layer=\"0\""), 2);
    EXPECT_EQ(value_of(metrics, "kiban_adam_second_moment_norm"), 1e-6);
    EXPECT_EQ(value_of(metrics, "kiban_embedding_effective_rank"), 90);
    const Finished judged = run_process({"promtool", "check", "metrics"}, {}, metrics.text());
    EXPECT_EQ(judged.exit_code, 0) << judged.output << "a value that is no number among them";
}

TEST(RunMetricsHealth, EachEvaluationTakesThePlaceOfTheOneBefore) {
    RunMetrics metrics(identity());
    metrics.health(250, health_of(4));
    ModelHealth bare;
    bare.groups = {{"norm", 1, 0.5}};
    metrics.health(500, bare);
    EXPECT_EQ(value_of(metrics, "kiban_health_step"), 500);
    EXPECT_EQ(series(metrics, "kiban_param_norm{"), 1U);
    EXPECT_EQ(series(metrics, "kiban_activation_rms{"), 0U) << "nothing was held out";
    EXPECT_EQ(series(metrics, "kiban_output_logit_max{"), 0U);
}

TEST(RunMetricsHealth, AResumeForgetsWhatWasSaidOfStepsThatMayBeLost) {
    RunMetrics metrics(identity());
    metrics.health(250, health_of(4));
    metrics.resumed({}, 200, true);
    EXPECT_EQ(series(metrics, "kiban_health_step{") + series(metrics, "kiban_activation_rms{"), 0U);
    metrics.health(210, health_of(4));
    EXPECT_EQ(value_of(metrics, "kiban_health_step"), 210);
}

TEST(RunMetricsHealth, OfManyLayersSixtyFourAreShownFromTheFirstToTheLast) {
    EXPECT_EQ(layers_shown(0).size(), 0U);
    EXPECT_EQ(layers_shown(1), std::vector<std::uint64_t>{0});
    EXPECT_EQ(layers_shown(64).size(), 64U);
    const std::vector<std::uint64_t> shown = layers_shown(1000);
    ASSERT_EQ(shown.size(), 64U);
    EXPECT_EQ(shown.front(), 0U);
    EXPECT_EQ(shown.back(), 999U);
    for (std::size_t i = 1; i < shown.size(); ++i) EXPECT_NEAR(static_cast<double>(shown[i] - shown[i - 1]), 15.9, 1);
}

TEST(RunMetricsHealth, SeriesStayInTheirBudgetWhateverTheCallerSays) {
    RunMetrics metrics(identity());
    const std::size_t before = series(metrics);
    ModelHealth health = health_of(64);
    metrics.health(1, health);
    const std::size_t full = series(metrics) - before;
    EXPECT_LE(full, 20U + 8U * kMostLayersShown) << "8 x layers, and some of 120 a run";
    for (std::uint64_t layer = 64; layer < 1000; ++layer) health.layers.push_back({.layer = layer});
    for (int group = 0; group < 100; ++group) health.groups.push_back({fmt::format("group {}", group), 1, 1});
    health.groups.push_back(health.groups[0]);
    health.layers[1] = health.layers[0];
    metrics.health(2, health);
    EXPECT_EQ(series(metrics) - before, full);
    metrics.health(3, {});
    EXPECT_EQ(series(metrics) - before, 1U) << "the step alone";
}

}  // namespace
}  // namespace kiban::monitoring
