// SPDX-License-Identifier: Apache-2.0
// A run as its metrics see it, without the run: for the tests of what is exported and of what is made from it.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "monitoring/detect/curve_watch.h"
#include "monitoring/model_health.h"
#include "monitoring/run_metrics.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {

inline RunIdentity identity() {
    RunIdentity identity;
    identity.run = "demo";
    identity.model = "gpt2 4x128";
    identity.config_hash = "c0ffee";
    identity.data_hash = "da7a";
    identity.version = "0.1.0";
    identity.seed = 1337;
    identity.parameters_total = 1000;
    identity.parameters_non_embedding = 800;
    identity.target_steps = 2000;
    identity.flops_per_token = 6000;
    identity.peak_flops = 1e9;
    identity.train_tokens = 10000;
    identity.holdout_bytes_per_token = 2;
    return identity;
}

inline CurveRow row_of(std::uint64_t step, double loss) {
    CurveRow row;
    row.step = step;
    row.tokens = 100 * step;
    row.loss = loss;
    row.learning_rate = 1e-3;
    row.grad_norm = 0.5;
    row.step_seconds = 0.03;
    row.wall_time = 1.7e9;
    return row;
}

// Of a model of so many layers.
inline ModelHealth health_of(std::uint64_t layers) {
    ModelHealth health;
    for (const std::string_view group : kTensorGroups) health.groups.push_back({std::string(group), 20.0, 0.02});
    health.adam_second_moment_norm = 1e-6;
    for (const std::uint64_t layer : layers_shown(layers))
        health.layers.push_back({layer, 1.0 + static_cast<double>(layer), 9.0, 3.5, 0.25, 2.0, 4.0});
    health.output_logit_max = 12;
    health.embedding_effective_rank = 90;
    health.embedding_isotropy_ratio = 0.9;
    health.embedding_uniformity = -3.5;
    return health;
}

// Every event that the interface has, once.
inline void every_event(RunMetrics& metrics) {
    metrics.set_state("training");
    metrics.attempt_started(2, "4711");
    CurveRow row = row_of(10, 2.0);
    row.eval_loss = 2.5;
    row.eval_accuracy = 0.25;
    row.eval_targets = 4096;
    metrics.step(row, 100, true, {{"forward", 0.01}, {"backward", 0.02}});
    metrics.health(10, health_of(4));
    detect::CurveState curve;
    curve.train_plateau.tests = 1;
    curve.generalisation.delay_ratio = 5;
    metrics.curve_state(curve);
    metrics.curve_event({.kind = detect::EventKind::spike, .step = 10, .detail = ""});
    metrics.communicated({"data", "reduce_scatter", 5, 4096, 0.25});
    metrics.prepared_unit(1000, 3, 900);
    metrics.checkpoint_queued(10);
    metrics.checkpoint_ended();
    metrics.checkpoint_committed(10, 4096, 0.2);
    metrics.checkpoint_written(4096, 0.1);
    metrics.checkpoint_stalled(0.01);
    metrics.checkpoint_skipped();
    metrics.checkpoint_interval(250);
    metrics.checkpoint_failed("enospc");
    metrics.checkpoint_promoted(10);
    metrics.checkpoint_rejected("scrub");
    metrics.checkpoint_scrubbed(4096);
    metrics.restarted("signal", 7, 700);
    metrics.decided("restart");
    metrics.hang("reduce");
    metrics.anomaly("loss_spike");
    metrics.rolled_back();
    metrics.rows_left_out(32);
    metrics.hosts_excluded(1);
    metrics.worker_up(0, true);
    metrics.worker_heartbeat_age(0, 0.5);
    metrics.worker_step(0, 11);
    metrics.worker_busy(0, 0.02, true);
    metrics.worker_memory(0, 1 << 20, 1 << 10);
    metrics.worker_seconds(0, {{"forward", 1.5}, {"reduce", 0.5}});
    metrics.corpus_cleaned({{"too_short", 3}}, {{"email", 12}});
}

// What worker 0 does in a model that every axis cuts.
inline void communicate_on_every_axis(RunMetrics& metrics) {
    const std::map<std::string, std::vector<std::string>> operations = {
        {"world", {"all_reduce", "broadcast", "receive"}},
        {"data", {"reduce_scatter", "all_gather", "all_reduce"}},
        {"tensor", {"reduce_scatter", "all_gather", "all_reduce"}},
        {"pipeline", {"send", "receive"}},
        {"tied", {"all_reduce"}}};
    for (const auto& [axis, of_axis] : operations)
        for (const std::string& operation : of_axis) metrics.communicated({axis, operation, 1, 1, 1});
}

// The value of the series `name{labels}` in an exposition; NaN when it is not there. Labels in the order of the text.
inline double value_in(const std::string& text, const std::string& name, const std::string& labels = "run=\"demo\"") {
    std::istringstream lines(text);
    const std::string start = name + "{" + labels + "} ";
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with(start)) return std::stod(line.substr(start.size()));
    }
    return std::numeric_limits<double>::quiet_NaN();
}

inline double value_of(const RunMetrics& metrics, const std::string& name, const std::string& labels = "run=\"demo\"") {
    return value_in(metrics.text(), name, labels);
}

inline bool exposes(const RunMetrics& metrics, const std::string& part) { return contains(metrics.text(), part); }

}  // namespace kiban::monitoring
