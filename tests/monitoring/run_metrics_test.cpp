// SPDX-License-Identifier: Apache-2.0
#include "monitoring/run_metrics.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ctime>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "monitoring/detect/curve_watch.h"
#include "monitoring/error.h"
#include "monitoring/expose.h"
#include "tests/monitoring/process.h"
#include "tests/monitoring/simulated_run.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {
namespace {

struct Family {
    std::string type;
    std::set<std::string> labels;

    bool operator==(const Family&) const = default;
};

std::map<std::string, Family> exported_families(const std::string& text) {
    std::map<std::string, Family> families;
    std::istringstream lines(text);
    std::string name;
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string hash, keyword;
        if (line.starts_with("# TYPE ")) {
            std::string type;
            words >> hash >> keyword >> name >> type;
            families[name].type = type;
        } else if (!line.starts_with("#")) {
            for (std::size_t at = line.find('{'); at != std::string::npos && line[at] != '}';) {
                const std::size_t equals = line.find("=\"", at);
                const std::string label = line.substr(at + 1, equals - at - 1);
                if (label != "le" && label != "run") families[name].labels.insert(label);
                at = line.find('"', equals + 2) + 1;
            }
        }
    }
    return families;
}

std::map<std::string, Family> documented_families() {
    std::map<std::string, Family> families;
    std::istringstream lines(slurp(KIBAN_SOURCE_DIR "/monitoring/METRICS.md"));
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with("| `kiban_") && !line.starts_with("| `process_")) continue;
        std::vector<std::string> cells;
        std::istringstream row(line.substr(1));
        for (std::string cell; std::getline(row, cell, '|');) {
            const auto begin = cell.find_first_not_of(" `");
            const auto end = cell.find_last_not_of(" `");
            cells.push_back(begin == std::string::npos ? "" : cell.substr(begin, end - begin + 1));
        }
        Family& family = families[cells.at(0)];
        family.type = cells.at(1);
        std::istringstream labels(cells.at(3));
        for (std::string label; std::getline(labels >> std::ws, label, ',');) family.labels.insert(label);
    }
    return families;
}

TEST(RunMetrics, TheTableOfMetricsHoldsEveryFamilyAndNoOther) {
    RunMetrics metrics(identity());
    every_event(metrics);
    auto exported = exported_families(metrics.text());
    const TempDirectory no_runs;
    exported.merge(exported_families(ExposedRuns({no_runs.path()}).text()));
    const auto documented = documented_families();
    EXPECT_GE(exported.size(), 40u);
    for (const auto& [name, family] : exported) {
        ASSERT_TRUE(documented.contains(name)) << name << " is exported and not in monitoring/METRICS.md";
        EXPECT_EQ(documented.at(name).type, family.type) << name;
        EXPECT_EQ(documented.at(name).labels, family.labels) << name;
    }
    for (const auto& [name, family] : documented) EXPECT_TRUE(exported.contains(name)) << name << " is not exported";
}

TEST(RunMetrics, PromtoolFindsNothingBeforeAndAfterEveryEvent) {
    RunMetrics metrics(identity());
    const Finished before = run_process({"promtool", "check", "metrics"}, {}, metrics.text());
    EXPECT_EQ(before.exit_code, 0) << before.output;
    EXPECT_EQ(before.output, "");
    every_event(metrics);
    const Finished after = run_process({"promtool", "check", "metrics"}, {}, metrics.text());
    EXPECT_EQ(after.exit_code, 0) << after.output;
    EXPECT_EQ(after.output, "");
}

TEST(RunMetrics, PromtoolObjectsToABadName) {
    const Finished bad =
        run_process({"promtool", "check", "metrics"}, {}, "# TYPE kiban_wait_ms counter\nkiban_wait_ms 1\n");
    EXPECT_NE(bad.exit_code, 0) << "the judge of the test above must be able to object";
}

TEST(RunMetrics, EverySeriesCarriesTheRun) {
    RunMetrics metrics(identity());
    every_event(metrics);
    std::istringstream lines(metrics.text());
    for (std::string line; std::getline(lines, line);) {
        EXPECT_TRUE(line.starts_with("#") || contains(line, "run=\"demo\"")) << line;
    }
}

TEST(RunMetrics, NoLossAndNoPositionIsClaimedBeforeTheFirstStep) {
    const RunMetrics metrics(identity());
    EXPECT_FALSE(exposes(metrics, "kiban_train_loss_nats{"));
    EXPECT_FALSE(exposes(metrics, "kiban_eval_loss_nats{"));
    EXPECT_FALSE(exposes(metrics, "kiban_train_step{"));
    EXPECT_FALSE(exposes(metrics, "kiban_checkpoint_last_step{"));
    EXPECT_EQ(value_of(metrics, "kiban_train_loss_nats_total"), 0);
    EXPECT_EQ(value_of(metrics, "kiban_train_target_steps"), 2000);
}

TEST(RunMetrics, TheLossIsTheTokenWeightedMeanOfAllSteps) {
    RunMetrics metrics(identity());
    metrics.step(row_of(1, 4.0), 100, false, {});
    metrics.step(row_of(2, 1.0), 300, false, {});
    EXPECT_EQ(value_of(metrics, "kiban_train_loss_nats_total"), 700);
    EXPECT_EQ(value_of(metrics, "kiban_train_loss_tokens_total"), 400);
    EXPECT_EQ(value_of(metrics, "kiban_train_loss_nats"), 1.0);
    EXPECT_EQ(value_of(metrics, "kiban_model_flops_total"), 400.0 * 6000);
}

TEST(RunMetrics, PositionFollowsTheRowAndCountersKeepRepeatedWork) {
    RunMetrics metrics(identity());
    for (const std::uint64_t step : {10u, 11u, 12u}) metrics.step(row_of(step, 2.0), 100, false, {});
    metrics.restarted("signal", 2, 200);
    metrics.step(row_of(11, 2.0), 100, false, {});
    EXPECT_EQ(value_of(metrics, "kiban_train_step"), 11);
    EXPECT_EQ(value_of(metrics, "kiban_train_tokens_seen"), 1100);
    EXPECT_DOUBLE_EQ(value_of(metrics, "kiban_train_chinchilla_ratio"), 1100.0 / (20 * 1000));
    EXPECT_EQ(value_of(metrics, "kiban_steps_total"), 4);
    EXPECT_EQ(value_of(metrics, "kiban_tokens_total"), 400);
    EXPECT_EQ(value_of(metrics, "kiban_rollback_steps_total"), 2);
}

TEST(RunMetrics, ASpikeStaysVisibleForAHundredSteps) {
    RunMetrics metrics(identity());
    metrics.step(row_of(1, 9.0), 100, false, {});
    for (std::uint64_t step = 2; step <= 100; ++step) metrics.step(row_of(step, 2.0), 100, false, {});
    EXPECT_EQ(value_of(metrics, "kiban_train_loss_max_nats"), 9.0);
    metrics.step(row_of(101, 2.0), 100, false, {});
    EXPECT_EQ(value_of(metrics, "kiban_train_loss_max_nats"), 2.0);
}

TEST(RunMetrics, AStepThatIsNotFiniteIsCountedAndDoesNotSpoilTheSums) {
    RunMetrics metrics(identity());
    metrics.step(row_of(1, 3.0), 100, false, {});
    metrics.step(row_of(2, std::numeric_limits<double>::quiet_NaN()), 100, false, {});
    CurveRow row = row_of(3, 3.0);
    row.grad_norm = std::numeric_limits<double>::infinity();
    metrics.step(row, 100, false, {});
    EXPECT_EQ(value_of(metrics, "kiban_nonfinite_steps_total"), 2);
    EXPECT_EQ(value_of(metrics, "kiban_train_loss_nats_total"), 600);
    EXPECT_EQ(value_of(metrics, "kiban_train_loss_tokens_total"), 200);
    EXPECT_EQ(value_of(metrics, "kiban_tokens_total"), 300);
    EXPECT_EQ(value_of(metrics, "kiban_train_loss_max_nats"), 3.0);
    EXPECT_EQ(run_process({"promtool", "check", "metrics"}, {}, metrics.text()).exit_code, 0);
}

TEST(RunMetrics, AStepWithoutATargetIsAStepWithoutALoss) {
    RunMetrics metrics(identity());
    metrics.step(row_of(1, 3.0), 100, false, {});
    CurveRow row = row_of(2, std::numeric_limits<double>::quiet_NaN());
    row.grad_norm = 0;
    metrics.step(row, 0, false, {});
    EXPECT_EQ(value_of(metrics, "kiban_steps_total"), 2);
    EXPECT_EQ(value_of(metrics, "kiban_nonfinite_steps_total"), 0);
    EXPECT_EQ(value_of(metrics, "kiban_train_loss_nats"), 3.0);
    EXPECT_EQ(value_of(metrics, "kiban_train_loss_tokens_total"), 100);
}

TEST(RunMetrics, ARefusedStepIsCountedWhetherARestartFollowsOrNot) {
    RunMetrics metrics(identity());
    metrics.anomaly(kNonFiniteCause);
    EXPECT_EQ(value_of(metrics, "kiban_nonfinite_steps_total"), 1);
    EXPECT_EQ(value_of(metrics, "kiban_steps_total"), 0);
    metrics.restarted(kNonFiniteCause, 3, 300);
    EXPECT_EQ(value_of(metrics, "kiban_nonfinite_steps_total"), 1);
    EXPECT_EQ(value_of(metrics, "kiban_restarts_total", "run=\"demo\",cause=\"non_finite\""), 1);
}

TEST(RunMetrics, AnIdentityThatBecomesKnownChangesItsLabelsAndLosesNoSeries) {
    RunIdentity early = identity();
    early.data_hash = "";
    early.parameters_total = 0;
    RunMetrics metrics(early);
    every_event(metrics);
    const double prepared = value_of(metrics, "kiban_prepared_tokens_total");
    metrics.set_identity(identity());
    EXPECT_TRUE(exposes(metrics, "data_hash=\"da7a\""));
    EXPECT_FALSE(exposes(metrics, "data_hash=\"\"")) << "one identity at a time";
    EXPECT_EQ(value_of(metrics, "kiban_prepared_tokens_total"), prepared);
    EXPECT_EQ(value_of(metrics, "kiban_train_step"), 10);
    EXPECT_EQ(value_of(metrics, "kiban_model_parameters", "run=\"demo\",kind=\"total\""), 1000);
    RunIdentity other = identity();
    other.run = "other";
    EXPECT_TRUE(contains(message_of<InternalError>([&] { metrics.set_identity(other); }), "'demo' was to become"));
}

TEST(RunMetrics, ExactlyOneStateIsOn) {
    RunMetrics metrics(identity());
    metrics.set_state("training");
    metrics.set_state("restarting");
    for (const char* state : {"preparing", "starting", "training", "saving", "restarting", "done", "failed"}) {
        EXPECT_EQ(value_of(metrics, "kiban_run_state", fmt::format("run=\"demo\",state=\"{}\"", state)),
                  std::string_view(state) == "restarting" ? 1 : 0);
    }
    EXPECT_TRUE(contains(message_of<InternalError>([&] { metrics.set_state("asleep"); }), "unknown state 'asleep'"));
}

TEST(RunMetrics, ANewAttemptForgetsTheRanksAndTheNumberOfTheOldOne) {
    RunMetrics metrics(identity());
    metrics.attempt_started(1, "");
    for (int rank = 0; rank < 4; ++rank) {
        metrics.worker_up(rank, true);
        metrics.worker_memory(rank, 1, 1);
    }
    metrics.attempt_started(2, "");
    metrics.worker_up(0, true);
    metrics.worker_up(1, false);
    EXPECT_FALSE(exposes(metrics, "attempt=\"1\""));
    EXPECT_TRUE(exposes(metrics, "attempt=\"2\""));
    EXPECT_EQ(value_of(metrics, "kiban_worker_up", "run=\"demo\",rank=\"1\""), 0);
    EXPECT_FALSE(exposes(metrics, "rank=\"3\""));
    EXPECT_FALSE(exposes(metrics, "kiban_memory_resident_bytes{"));
}

TEST(RunMetrics, CausesAreBoundedWhateverTheCallerSays) {
    RunMetrics metrics(identity());
    for (int cause = 0; cause < 100; ++cause) metrics.restarted(fmt::format("cause {}", cause), 0, 0);
    std::size_t series = 0;
    std::istringstream lines(metrics.text());
    for (std::string line; std::getline(lines, line);) series += line.starts_with("kiban_restarts_total{") ? 1u : 0u;
    EXPECT_EQ(series, 16u);
    EXPECT_EQ(value_of(metrics, "kiban_restarts_total", "run=\"demo\",cause=\"other\""), 85);
}

TEST(RunMetrics, LossesAreShownByByteAndPositionByPassWhereTheCorpusIsKnown) {
    RunIdentity without = identity();
    without.train_tokens = 0;
    without.holdout_bytes_per_token = 0;
    RunMetrics metrics(without);
    CurveRow row = row_of(10, 2.0);
    row.eval_loss = 3;
    metrics.step(row, 100, false, {});
    EXPECT_FALSE(exposes(metrics, "kiban_eval_loss_nats_per_byte{"));
    EXPECT_FALSE(exposes(metrics, "kiban_train_epoch_ratio{"));
    metrics.set_identity(identity());
    metrics.step(row, 100, false, {});
    EXPECT_DOUBLE_EQ(value_of(metrics, "kiban_eval_loss_nats_per_byte", "run=\"demo\",split=\"holdout\""), 1.5)
        << "three nats a token, two bytes a token";
    EXPECT_DOUBLE_EQ(value_of(metrics, "kiban_train_epoch_ratio"), 0.1) << "1000 tokens of 10000";
}

TEST(RunMetrics, TimeOfWorkersAddsUpOverTheirProcessesAndNeverFalls) {
    RunMetrics metrics(identity());
    const auto forward = [&](int rank) {
        return value_of(metrics, "kiban_worker_phase_seconds_total",
                        fmt::format("run=\"demo\",phase=\"forward\",rank=\"{}\"", rank));
    };
    metrics.worker_seconds(0, {{"forward", 2.0}, {"dance", 1.0}});
    metrics.worker_seconds(1, {{"forward", 4.0}});
    metrics.worker_seconds(0, {{"forward", 1.5}});  // some of it was another phase's
    EXPECT_EQ(forward(0), 2.0);
    metrics.attempt_started(2, "");
    metrics.worker_seconds(0, {{"forward", 0.5}});
    EXPECT_EQ(forward(0), 2.5);
    EXPECT_EQ(forward(1), 4.0);
    EXPECT_TRUE(exposes(metrics, "phase=\"other\"")) << "no worker makes series of its own";
}

TEST(RunMetrics, WhatWasTakenOutOfTheCorpusIsBounded) {
    RunMetrics metrics(identity());
    std::map<std::string, std::uint64_t> dropped;
    for (int rule = 0; rule < 100; ++rule) dropped[fmt::format("rule {:03}", rule)] = 1;
    metrics.corpus_cleaned(dropped, {{"email", 7}});
    EXPECT_EQ(value_of(metrics, "kiban_corpus_redacted_values", "run=\"demo\",kind=\"email\""), 7);
    EXPECT_EQ(value_of(metrics, "kiban_corpus_dropped_documents", "run=\"demo\",reason=\"rule 000\""), 1);
    EXPECT_EQ(value_of(metrics, "kiban_corpus_dropped_documents", "run=\"demo\",reason=\"other\""), 70);
}

TEST(RunMetrics, CommunicationAddsUpByAxisAndOperation) {
    RunMetrics metrics(identity());
    metrics.communicated({"data", "reduce_scatter", 5, 4096, 0.25});
    metrics.communicated({"data", "reduce_scatter", 5, 4096, 0.5});
    metrics.communicated({"data", "all_gather", 5, 1024, 0.125});
    metrics.communicated({"tensor", "all_gather", 1, 8, 0.0625});
    const std::string scattered = "run=\"demo\",axis=\"data\",operation=\"reduce_scatter\"";
    EXPECT_EQ(value_of(metrics, "kiban_comm_operations_total", scattered), 10);
    EXPECT_EQ(value_of(metrics, "kiban_comm_bytes_total", scattered), 8192);
    EXPECT_EQ(value_of(metrics, "kiban_comm_seconds_total", scattered), 0.75);
    const std::string gathered = "run=\"demo\",axis=\"data\",operation=\"all_gather\"";
    EXPECT_EQ(value_of(metrics, "kiban_comm_bytes_total", gathered), 1024);
    EXPECT_EQ(value_of(metrics, "kiban_comm_bytes_total", "run=\"demo\",axis=\"tensor\",operation=\"all_gather\""), 8);
    EXPECT_TRUE(exposes(metrics, "# HELP kiban_comm_bytes_total Bytes that worker 0 "));
}

TEST(RunMetrics, AxesAndOperationsAreAClosedSetWhateverTheCallerSays) {
    RunMetrics metrics(identity());
    for (int i = 0; i < 100; ++i) metrics.communicated({fmt::format("axis {}", i), fmt::format("op {}", i), 1, 2, 3});
    metrics.communicated({"data", "juggle", 1, 2, 3});
    EXPECT_EQ(value_of(metrics, "kiban_comm_bytes_total", "run=\"demo\",axis=\"other\",operation=\"other\""), 200);
    EXPECT_EQ(value_of(metrics, "kiban_comm_bytes_total", "run=\"demo\",axis=\"data\",operation=\"other\""), 2);
    EXPECT_FALSE(exposes(metrics, "axis 1"));
}

TEST(RunMetrics, TheNumberOfSeriesStaysInItsBudgetAt64Ranks) {
    RunMetrics metrics(identity());
    every_event(metrics);
    communicate_on_every_axis(metrics);
    for (std::size_t kind = 0; kind < detect::kEventKinds.size(); ++kind)
        metrics.curve_event({.kind = static_cast<detect::EventKind>(kind), .step = 10, .detail = ""});
    for (int rank = 0; rank < 64; ++rank) {
        metrics.worker_up(rank, true);
        metrics.worker_heartbeat_age(rank, 0.1);
        metrics.worker_memory(rank, 1, 1);
    }
    std::size_t series = 0;
    std::istringstream lines(metrics.text());
    for (std::string line; std::getline(lines, line);) series += line.starts_with("#") ? 0u : 1u;
    EXPECT_LE(series, 235u + 4u * 64u) << "tighter than 120 + 40 x ranks + 8 x layers from two ranks on";
}

TEST(RunMetrics, MayBeReadWhileEventsArriveFromSeveralThreads) {
    RunMetrics metrics(identity());
    constexpr std::uint64_t kSteps = 500;
    std::thread steps([&] {
        for (std::uint64_t step = 1; step <= kSteps; ++step)
            metrics.step(row_of(step, 2.0), 100, false, {{"forward", 0.5}});
    });
    std::thread attempts([&] {
        for (std::uint32_t attempt = 1; attempt <= 100; ++attempt) {
            metrics.attempt_started(attempt, "");
            for (int rank = 0; rank < 4; ++rank) metrics.worker_up(rank, true);
        }
    });
    for (int read = 0; read < 20; ++read) EXPECT_TRUE(exposes(metrics, "kiban_run_info{"));
    steps.join();
    attempts.join();
    EXPECT_EQ(value_of(metrics, "kiban_steps_total"), kSteps);
    EXPECT_EQ(value_of(metrics, "kiban_phase_seconds_total", "run=\"demo\",phase=\"forward\""), 0.5 * kSteps);
    EXPECT_EQ(value_of(metrics, "kiban_step_duration_seconds_bucket", "run=\"demo\",le=\"0.05\""), kSteps);
}

TEST(RunMetrics, TellsWhatTheProcessItselfUses) {
    const RunMetrics metrics(identity());
    EXPECT_GT(value_of(metrics, "process_cpu_seconds_total"), 0);
    EXPECT_GT(value_of(metrics, "process_resident_memory_bytes"), 1 << 20);
    const double age = static_cast<double>(std::time(nullptr)) - value_of(metrics, "process_start_time_seconds");
    EXPECT_GE(age, -2);
    EXPECT_LE(age, 3600);
}

}  // namespace
}  // namespace kiban::monitoring
