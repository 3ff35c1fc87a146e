// SPDX-License-Identifier: Apache-2.0
// What RunMetrics holds. Internal to run_metrics*.cpp; all under its mutex.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "monitoring/detect/curve_watch.h"
#include "monitoring/health_gauges.h"
#include "monitoring/metric_families.h"
#include "monitoring/metric_values.h"
#include "monitoring/process_metrics.h"
#include "monitoring/run_metrics.h"

namespace kiban::monitoring {

inline constexpr std::size_t kWindowSteps = 100;
#if defined(__clang__)
inline constexpr const char* kCompiler = "clang " __clang_version__;
#else
inline constexpr const char* kCompiler = "g++ " __VERSION__;
#endif
inline constexpr double kTokensPerParameter = 20;  // Hoffmann et al. 2022 (arXiv 2203.15556), table 3
inline constexpr std::array<std::string_view, 7> kStates = {"preparing",  "starting", "training", "saving",
                                                            "restarting", "done",     "failed"};
// The largest of the last kWindowSteps values; NaN is passed over, since it compares with nothing.
class WindowMax {
  public:
    void clear() { values_.clear(); }

    double add(double value) {
        values_.push_back(std::isnan(value) ? -HUGE_VAL : value);
        if (values_.size() > kWindowSteps) values_.pop_front();
        return *std::max_element(values_.begin(), values_.end());
    }

  private:
    std::deque<double> values_;
};

struct RunMetrics::Impl {
    explicit Impl(const RunIdentity& run_identity)
        : families(run_identity.run),
          process(std::make_shared<ProcessMetrics>(run_identity.run)),
          identity(run_identity),
          health(families),
          phase_seconds(families.phase_seconds_total, "phase"),
          checkpoint_failures(families.checkpoint_failures_total, "cause"),
          checkpoint_rejects(families.checkpoint_rejects_total, "cause"),
          restarts(families.restarts_total, "cause"),
          decisions(families.decisions_total, "rule"),
          hangs(families.hangs_total, "phase"),
          anomalies(families.anomalies_total, "kind"),
          worker_up(families.worker_up),
          heartbeat_age(families.worker_heartbeat_age_seconds),
          worker_step(families.worker_step),
          busy_seconds(families.worker_busy_seconds),
          straggler(families.worker_straggler),
          worker_seconds(families.worker_phase_seconds_total),
          resident_bytes(families.memory_resident_bytes),
          optimizer_bytes(families.memory_optimizer_bytes) {}

    void show_identity() {
        if (info != nullptr) families.run_info.Remove(info);
        info = &families.run_info.Add({{"model", identity.model},
                                       {"config_hash", identity.config_hash},
                                       {"data_hash", identity.data_hash},
                                       {"version", identity.version},
                                       {"seed", std::to_string(identity.seed)}});
        info->Set(1);
        families.train_target_steps.Add({}).Set(static_cast<double>(identity.target_steps));
        if (identity.peak_flops > 0) families.peak_flops_per_second.Add({}).Set(identity.peak_flops);
        families.model_parameters.Add({{"kind", "total"}}).Set(static_cast<double>(identity.parameters_total));
        families.model_parameters.Add({{"kind", "non_embedding"}})
            .Set(static_cast<double>(identity.parameters_non_embedding));
    }

    // What has a true value before its first event; the rest appears with it.
    void declare() {
        show_identity();
        families.build_info.Add({{"version", identity.version}, {"compiler", kCompiler}}).Set(1);
        for (auto* family : {&families.train_loss_nats_total,
                             &families.train_loss_tokens_total,
                             &families.grad_clip_total,
                             &families.nonfinite_steps_total,
                             &families.steps_total,
                             &families.tokens_total,
                             &families.model_flops_total,
                             &families.prepared_units_total,
                             &families.prepared_bytes_total,
                             &families.prepared_documents_total,
                             &families.prepared_tokens_total,
                             &families.checkpoint_written_bytes_total,
                             &families.checkpoint_write_seconds_total,
                             &families.checkpoint_stall_seconds_total,
                             &families.checkpoint_skipped_total,
                             &families.rollback_steps_total,
                             &families.rollback_tokens_total,
                             &families.checkpoint_scrubbed_bytes_total,
                             &families.anomaly_rollbacks_total,
                             &families.left_out_rows_total}) {
            family->Add({});
        }
        families.step_duration_seconds.Add({}, step_buckets());
        families.checkpoint_duration_seconds.Add({}, checkpoint_buckets());
    }

    void record_position(const CurveRow& row) {
        const auto tokens = static_cast<double>(row.tokens);
        families.train_step.Add({}).Set(static_cast<double>(row.step));
        families.train_tokens_seen.Add({}).Set(tokens);
        families.train_last_step_timestamp_seconds.Add({}).Set(row.wall_time);
        reached(row.step);
        if (identity.parameters_total > 0) {
            const double compute_optimal = kTokensPerParameter * static_cast<double>(identity.parameters_total);
            families.train_chinchilla_ratio.Add({}).Set(tokens / compute_optimal);
        }
        if (identity.train_tokens > 0)
            families.train_epoch_ratio.Add({}).Set(tokens / static_cast<double>(identity.train_tokens));
    }

    void reached(std::uint64_t step) {
        high_water = std::max(high_water, step);
        families.train_step_high_water.Add({}).Set(static_cast<double>(high_water));
    }

    void show_evaluation(const CurveRow& row) {
        if (std::isnan(row.eval_loss)) return;  // none after this step
        families.eval_loss_nats.Add({{"split", "holdout"}}).Set(row.eval_loss);
        if (identity.holdout_bytes_per_token > 0) {
            families.eval_loss_nats_per_byte.Add({{"split", "holdout"}})
                .Set(row.eval_loss / identity.holdout_bytes_per_token);
        }
        if (!std::isnan(row.eval_accuracy))
            families.eval_accuracy_ratio.Add({{"split", "holdout"}}).Set(row.eval_accuracy);
        families.eval_step.Add({}).Set(static_cast<double>(row.step));
        families.eval_timestamp_seconds.Add({}).Set(row.wall_time);
    }

    void show_step(const CurveRow& row) {
        if (without_targets(row)) return show_evaluation(row);  // the last loss is still that of these weights
        families.train_loss_nats.Add({}).Set(row.loss);
        families.train_loss_max_nats.Add({}).Set(loss_max.add(row.loss));
        families.learning_rate.Add({}).Set(row.learning_rate);
        families.grad_norm.Add({}).Set(row.grad_norm);
        families.grad_norm_max.Add({}).Set(grad_norm_max.add(row.grad_norm));
        families.step_duration_max_seconds.Add({}).Set(step_seconds_max.add(row.step_seconds));
        show_evaluation(row);
    }

    // The windows hold what precedes the step, not what was rolled back.
    void show_history(const std::vector<CurveRow>& rows) {
        for (WindowMax* window : {&loss_max, &grad_norm_max, &step_seconds_max}) window->clear();
        const auto evaluated =
            std::find_if(rows.rbegin(), rows.rend(), [](const CurveRow& row) { return !std::isnan(row.eval_loss); });
        if (evaluated != rows.rend()) show_evaluation(*evaluated);
        const std::size_t first = rows.size() > kWindowSteps ? rows.size() - kWindowSteps : 0;
        for (std::size_t i = first; i < rows.size(); ++i) show_step(rows[i]);
        record_position(rows.back());
    }

    void record_learning(const CurveRow& row, double step_tokens, bool clipped) {
        if (std::isfinite(row.loss)) {
            families.train_loss_nats_total.Add({}).Increment(row.loss * step_tokens);
            families.train_loss_tokens_total.Add({}).Increment(step_tokens);
        }
        if (!without_targets(row) && (!std::isfinite(row.loss) || !std::isfinite(row.grad_norm)))
            families.nonfinite_steps_total.Add({}).Increment();
        if (clipped) families.grad_clip_total.Add({}).Increment();
        show_step(row);
    }

    void record_speed(const CurveRow& row, double step_tokens, const std::map<std::string, double>& seconds_of_phase) {
        families.steps_total.Add({}).Increment();
        families.tokens_total.Add({}).Increment(step_tokens);
        families.model_flops_total.Add({}).Increment(step_tokens * identity.flops_per_token);
        families.step_duration_seconds.Add({}, step_buckets()).Observe(row.step_seconds);
        for (const auto& [phase, seconds] : seconds_of_phase) phase_seconds.of(phase).Increment(seconds);
    }

    void record_last_event(const detect::Event& event) {
        prometheus::Gauge*& gauge = last_events[static_cast<std::size_t>(event.kind)];
        if (gauge == nullptr) {
            gauge = &families.curve_last_event_step.Add({{"kind", std::string(detect::word_of(event.kind))}});
        }
        gauge->Set(static_cast<double>(event.step));
    }

    MetricFamilies families;
    std::shared_ptr<ProcessMetrics> process;

    mutable std::mutex mutex;  // of all that follows
    RunIdentity identity;
    prometheus::Gauge* info = nullptr;
    HealthGauges health;
    BoundedCounters phase_seconds;
    BoundedCounters checkpoint_failures;
    BoundedCounters checkpoint_rejects;
    BoundedCounters restarts;
    BoundedCounters decisions;
    BoundedCounters hangs;
    BoundedCounters anomalies;
    RankGauges worker_up;
    RankGauges heartbeat_age;
    RankGauges worker_step;
    RankGauges busy_seconds;
    RankGauges straggler;
    RankPhaseCounters worker_seconds;
    RankGauges resident_bytes;
    RankGauges optimizer_bytes;
    WindowMax loss_max;
    WindowMax grad_norm_max;
    WindowMax step_seconds_max;
    std::uint64_t high_water = 0;
    prometheus::Gauge* attempt = nullptr;
    std::array<prometheus::Gauge*, detect::kEventKinds.size()> last_events{};
    std::optional<detect::Phase> shown_phase;
};

}  // namespace kiban::monitoring
