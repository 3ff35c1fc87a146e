// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "monitoring/detect/curve_watch.h"
#include "monitoring/run_metrics.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {
namespace {

RunIdentity demo() {
    RunIdentity identity;
    identity.run = "demo";
    return identity;
}

double value_of(const RunMetrics& metrics, const std::string& name, const std::string& labels) {
    const std::string text = metrics.text();
    const std::string start = "\n" + name + "{" + labels + "} ";
    const auto at = text.find(start);
    return at == std::string::npos ? std::nan("") : std::stod(text.substr(at + start.size()));
}

TEST(CurveMetrics, EventsOfTheCurveAreCountedAndTheirLastStepFollowsTheSurvivingHistory) {
    RunMetrics metrics(demo());
    const auto event = [](detect::EventKind kind, std::uint64_t step) {
        return detect::Event{.kind = kind, .step = step, .detail = ""};
    };
    metrics.curve_event(event(detect::EventKind::spike, 10));
    metrics.curve_event(event(detect::EventKind::spike, 20));
    metrics.curve_event(event(detect::EventKind::jump_up, 25));
    const std::string spike = "run=\"demo\",kind=\"spike\"";
    EXPECT_EQ(value_of(metrics, "kiban_curve_events_total", spike), 2);
    EXPECT_EQ(value_of(metrics, "kiban_curve_last_event_step", spike), 20);
    metrics.curve_history({event(detect::EventKind::spike, 10)});  // back to step 15
    EXPECT_EQ(value_of(metrics, "kiban_curve_events_total", spike), 2);
    EXPECT_EQ(value_of(metrics, "kiban_curve_last_event_step", spike), 10);
    EXPECT_FALSE(contains(metrics.text(), "kiban_curve_last_event_step{run=\"demo\",kind=\"jump_up\"}"));
}

TEST(CurveMetrics, ExactlyOnePhaseOfTheCurveIsOn) {
    RunMetrics metrics(demo());
    detect::CurveState curve;
    metrics.curve_state(curve);
    EXPECT_EQ(value_of(metrics, "kiban_curve_phase", "run=\"demo\",phase=\"learning\""), 1);
    EXPECT_FALSE(contains(metrics.text(), "kiban_curve_slope_nats_per_doubling{"))
        << "before the first window there is none";
    curve.train_spike.diverged = 1;
    metrics.curve_state(curve);
    double on = 0;
    for (const auto phase : detect::kPhases)
        on += value_of(metrics, "kiban_curve_phase", fmt::format("run=\"demo\",phase=\"{}\"", phase));
    EXPECT_EQ(on, 1);
    EXPECT_EQ(value_of(metrics, "kiban_curve_phase", "run=\"demo\",phase=\"diverging\""), 1);
}

}  // namespace
}  // namespace kiban::monitoring
