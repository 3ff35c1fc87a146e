// SPDX-License-Identifier: Apache-2.0
// Every metric family of a run, declared once: name, help, type (table: monitoring/METRICS.md). Private to monitoring/.
//
// Names and units follow prometheus.io/docs/practices/naming. Families are as thread-safe as prometheus-cpp makes them;
// the label-keeping classes below are not, their owner locks.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <cstddef>
#include <map>
#include <memory>
#include <string>

namespace kiban::monitoring {

struct MetricFamilies {
    using Counters = prometheus::Family<prometheus::Counter>;
    using Gauges = prometheus::Family<prometheus::Gauge>;
    using Histograms = prometheus::Family<prometheus::Histogram>;

    /// Every series of every family carries the label run.
    explicit MetricFamilies(const std::string& run);

    std::shared_ptr<prometheus::Registry> registry;

    Gauges& run_info;
    Gauges& run_attempt_info;
    Gauges& build_info;
    Gauges& run_state;
    Gauges& train_step;
    Gauges& train_step_high_water;
    Gauges& train_last_step_timestamp_seconds;
    Gauges& train_target_steps;
    Gauges& train_tokens_seen;
    Gauges& train_chinchilla_ratio;
    Gauges& train_epoch_ratio;
    Gauges& model_parameters;

    Counters& train_loss_nats_total;
    Counters& train_loss_tokens_total;
    Gauges& train_loss_nats;
    Gauges& train_loss_max_nats;
    Gauges& eval_loss_nats;
    Gauges& eval_loss_nats_per_byte;
    Gauges& eval_accuracy_ratio;
    Gauges& eval_step;
    Gauges& eval_timestamp_seconds;

    Gauges& learning_rate;
    Gauges& grad_norm;
    Gauges& grad_norm_max;
    Counters& grad_clip_total;
    Counters& nonfinite_steps_total;

    Gauges& health_step;
    Gauges& param_norm;
    Gauges& update_norm;
    Gauges& update_to_param_ratio;
    Gauges& adam_second_moment_norm;
    Gauges& activation_rms;
    Gauges& activation_max;
    Gauges& activation_kurtosis;
    Gauges& hidden_cosine_mean;
    Gauges& attention_entropy_nats;
    Gauges& attention_logit_max;
    Gauges& output_logit_max;
    Gauges& embedding_effective_rank;
    Gauges& embedding_isotropy_ratio;
    Gauges& embedding_uniformity;

    Counters& curve_events_total;
    Gauges& curve_last_event_step;
    Gauges& curve_phase;
    Gauges& curve_slope_nats_per_doubling;
    Gauges& curve_plateau_tokens;
    Gauges& grok_delay_ratio;
    Gauges& spike_score_ratio;

    Counters& steps_total;
    Counters& tokens_total;
    Counters& model_flops_total;
    Gauges& peak_flops_per_second;
    Histograms& step_duration_seconds;
    Gauges& step_duration_max_seconds;
    Counters& phase_seconds_total;
    Counters& comm_operations_total;
    Counters& comm_bytes_total;
    Counters& comm_seconds_total;

    Counters& prepared_units_total;
    Counters& prepared_bytes_total;
    Counters& prepared_documents_total;
    Counters& prepared_tokens_total;
    Gauges& corpus_dropped_documents;
    Gauges& corpus_redacted_values;

    Histograms& checkpoint_duration_seconds;
    Gauges& checkpoint_bytes;
    Gauges& checkpoint_last_step;
    Gauges& checkpoint_last_success_timestamp_seconds;
    Gauges& checkpoint_queued_step;
    Gauges& checkpoint_in_flight;
    Gauges& checkpoint_interval_steps;
    Counters& checkpoint_written_bytes_total;
    Counters& checkpoint_write_seconds_total;
    Counters& checkpoint_stall_seconds_total;
    Counters& checkpoint_skipped_total;
    Counters& checkpoint_failures_total;
    Counters& checkpoint_rejects_total;
    Gauges& checkpoint_promoted_step;
    Counters& checkpoint_scrubbed_bytes_total;
    Counters& restarts_total;
    Counters& rollback_steps_total;
    Counters& rollback_tokens_total;

    Counters& decisions_total;
    Counters& hangs_total;
    Counters& anomalies_total;
    Counters& anomaly_rollbacks_total;
    Counters& left_out_rows_total;
    Gauges& excluded_hosts;

    Gauges& worker_up;
    Gauges& worker_heartbeat_age_seconds;
    Gauges& worker_step;
    Gauges& worker_busy_seconds;
    Gauges& worker_straggler;
    Counters& worker_phase_seconds_total;
    Gauges& memory_resident_bytes;
    Gauges& memory_optimizer_bytes;
};

/// Gauges of one family by rank, which can be forgotten when another set of workers starts.
class RankGauges {
  public:
    explicit RankGauges(MetricFamilies::Gauges& family) : family_(family) {}

    void set(int rank, double value);
    void set_all(double value);  // of the ranks that are there
    void clear();

  private:
    MetricFamilies::Gauges& family_;
    std::map<int, prometheus::Gauge*> gauges_;
};

/// What workers count since their processes began, by rank and phase, as counters of this process: what a new process
/// of a rank says begins at zero again.
class RankPhaseCounters {
  public:
    explicit RankPhaseCounters(MetricFamilies::Counters& family) : family_(family) {}

    void reached(int rank, const std::string& phase, double seconds);
    void other_processes();

  private:
    struct Cell {
        prometheus::Counter* counter = nullptr;
        double reached = 0;
    };
    MetricFamilies::Counters& family_;
    std::map<std::pair<int, std::string>, Cell> cells_;
};

/// Counters of one family by a label whose values come from outside: the first kMaxValues are kept apart, later ones
/// count as "other", so that no caller can make the number of series grow without bound.
class BoundedCounters {
  public:
    static constexpr std::size_t kMaxValues = 15;

    BoundedCounters(MetricFamilies::Counters& family, std::string label) : family_(family), label_(std::move(label)) {}

    prometheus::Counter& of(const std::string& value);

  private:
    MetricFamilies::Counters& family_;
    std::string label_;
    std::map<std::string, prometheus::Counter*> counters_;
};

}  // namespace kiban::monitoring
