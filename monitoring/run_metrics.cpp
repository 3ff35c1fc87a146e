// SPDX-License-Identifier: Apache-2.0
#include "monitoring/run_metrics.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <deque>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

#include "monitoring/detect/curve_watch.h"
#include "monitoring/error.h"
#include "monitoring/metric_families.h"
#include "monitoring/process_metrics.h"

namespace kiban::monitoring {
namespace {

constexpr std::size_t kWindowSteps = 100;
#if defined(__clang__)
constexpr const char* kCompiler = "clang " __clang_version__;
#else
constexpr const char* kCompiler = "g++ " __VERSION__;
#endif
constexpr double kTokensPerParameter = 20;  // Hoffmann et al. 2022 (arXiv 2203.15556), table 3
constexpr std::array<std::string_view, 7> kStates = {"preparing",  "starting", "training", "saving",
                                                     "restarting", "done",     "failed"};
constexpr std::array<std::string_view, 9> kAxes = {"world", "data",     "shard",   "replica", "tensor",
                                                   "layer", "pipeline", "context", "tied"};
constexpr std::array<std::string_view, 6> kOperations = {"reduce_scatter", "all_gather", "all_reduce",
                                                         "broadcast",      "send",       "receive"};

// A label's value that comes from outside: one of a closed set, so that no caller can make the number of series grow.
template <std::size_t Size>
std::string known_or_other(const std::array<std::string_view, Size>& known, const std::string& value) {
    return std::find(known.begin(), known.end(), value) != known.end() ? value : "other";
}

prometheus::Histogram::BucketBoundaries step_buckets() {
    return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100};
}

prometheus::Histogram::BucketBoundaries checkpoint_buckets() {
    return {0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600};
}

double now_seconds() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

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

}  // namespace

struct RunMetrics::Impl {
    explicit Impl(const RunIdentity& run_identity)
        : families(run_identity.run),
          process(std::make_shared<ProcessMetrics>(run_identity.run)),
          identity(run_identity),
          phase_seconds(families.phase_seconds_total, "phase"),
          checkpoint_failures(families.checkpoint_failures_total, "cause"),
          checkpoint_rejects(families.checkpoint_rejects_total, "cause"),
          restarts(families.restarts_total, "cause"),
          worker_up(families.worker_up),
          heartbeat_age(families.worker_heartbeat_age_seconds),
          worker_step(families.worker_step),
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
        families.model_parameters.Add({{"kind", "total"}}).Set(static_cast<double>(identity.parameters_total));
        families.model_parameters.Add({{"kind", "non_embedding"}})
            .Set(static_cast<double>(identity.parameters_non_embedding));
    }

    // What has a true value before its first event; the rest appears with it.
    void declare() {
        show_identity();
        families.build_info.Add({{"version", identity.version}, {"compiler", kCompiler}}).Set(1);
        for (auto* family :
             {&families.train_loss_nats_total, &families.train_loss_tokens_total, &families.grad_clip_total,
              &families.nonfinite_steps_total, &families.steps_total, &families.tokens_total,
              &families.model_flops_total, &families.prepared_units_total, &families.prepared_bytes_total,
              &families.prepared_documents_total, &families.prepared_tokens_total,
              &families.checkpoint_written_bytes_total, &families.checkpoint_write_seconds_total,
              &families.checkpoint_stall_seconds_total, &families.checkpoint_skipped_total,
              &families.rollback_steps_total, &families.checkpoint_scrubbed_bytes_total}) {
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
    }

    void reached(std::uint64_t step) {
        high_water = std::max(high_water, step);
        families.train_step_high_water.Add({}).Set(static_cast<double>(high_water));
    }

    void show_evaluation(const CurveRow& row) {
        if (std::isnan(row.eval_loss)) return;  // none after this step
        families.eval_loss_nats.Add({{"split", "holdout"}}).Set(row.eval_loss);
        families.eval_step.Add({}).Set(static_cast<double>(row.step));
        families.eval_timestamp_seconds.Add({}).Set(row.wall_time);
    }

    void show_step(const CurveRow& row) {
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
        if (!std::isfinite(row.loss) || !std::isfinite(row.grad_norm))
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
    BoundedCounters phase_seconds;
    BoundedCounters checkpoint_failures;
    BoundedCounters checkpoint_rejects;
    BoundedCounters restarts;
    RankGauges worker_up;
    RankGauges heartbeat_age;
    RankGauges worker_step;
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

// A step is counted under the mutex, so a scrape that takes it too sees steps whole.
class RunMetrics::Snapshot : public prometheus::Collectable {
  public:
    explicit Snapshot(const Impl& impl) : impl_(impl) {}

    std::vector<prometheus::MetricFamily> Collect() const override {
        const std::lock_guard lock(impl_.mutex);
        return impl_.families.registry->Collect();
    }

  private:
    const Impl& impl_;
};

RunMetrics::RunMetrics(const RunIdentity& identity)
    : impl_(std::make_unique<Impl>(identity)), snapshot_(std::make_shared<Snapshot>(*impl_)) {
    impl_->declare();
}

RunMetrics::~RunMetrics() = default;

void RunMetrics::set_identity(const RunIdentity& identity) {
    const std::lock_guard lock(impl_->mutex);
    KIBAN_CHECK(identity.run == impl_->identity.run, "run '{}' was to become '{}'", impl_->identity.run, identity.run);
    impl_->identity = identity;
    impl_->show_identity();
}

void RunMetrics::set_target_steps(std::uint64_t steps) {
    const std::lock_guard lock(impl_->mutex);
    impl_->identity.target_steps = steps;
    impl_->show_identity();
}

void RunMetrics::set_state(const std::string& state) {
    KIBAN_CHECK(std::find(kStates.begin(), kStates.end(), state) != kStates.end(), "unknown state '{}'", state);
    for (const std::string_view known : kStates) {
        impl_->families.run_state.Add({{"state", std::string(known)}}).Set(known == state ? 1 : 0);
    }
}

void RunMetrics::attempt_started(std::uint32_t attempt, const std::string& slurm_job_id) {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->attempt != nullptr) impl_->families.run_attempt_info.Remove(impl_->attempt);
    impl_->attempt =
        &impl_->families.run_attempt_info.Add({{"attempt", std::to_string(attempt)}, {"slurm_job_id", slurm_job_id}});
    impl_->attempt->Set(1);
    // The next attempt may have fewer workers: no series of a rank that is not there.
    impl_->worker_up.clear();
    impl_->heartbeat_age.clear();
    impl_->worker_step.clear();
    impl_->resident_bytes.clear();
    impl_->optimizer_bytes.clear();
}

void RunMetrics::resumed(const Curve& record, std::uint64_t step, bool checkpoint) {
    const std::lock_guard lock(impl_->mutex);
    impl_->reached(std::max(record.highest_step, step));
    if (record.rows.empty()) {
        impl_->families.train_step.Add({}).Set(static_cast<double>(step));
    } else {
        impl_->show_history(record.rows);
    }
    if (checkpoint) impl_->families.checkpoint_last_step.Add({}).Set(static_cast<double>(step));
}

void RunMetrics::step(const CurveRow& row, std::uint64_t step_tokens, bool clipped,
                      const std::map<std::string, double>& phase_seconds) {
    const std::lock_guard lock(impl_->mutex);
    const auto tokens = static_cast<double>(step_tokens);
    impl_->record_position(row);
    impl_->record_learning(row, tokens, clipped);
    impl_->record_speed(row, tokens, phase_seconds);
}

void RunMetrics::curve_state(const detect::CurveState& state) {
    const std::lock_guard lock(impl_->mutex);
    MetricFamilies& families = impl_->families;
    const detect::Phase phase = phase_of(state);
    if (impl_->shown_phase != phase) {
        for (const std::string_view known : detect::kPhases)
            families.curve_phase.Add({{"phase", std::string(known)}}).Set(known == word_of(phase) ? 1 : 0);
        impl_->shown_phase = phase;
    }
    const double slope = slope_nats_per_doubling(state);
    if (!std::isnan(slope)) families.curve_slope_nats_per_doubling.Add({}).Set(slope);
    families.curve_plateau_tokens.Add({}).Set(static_cast<double>(plateau_tokens(state)));
    families.spike_score_ratio.Add({}).Set(spike_score(state));
    if (state.generalisation.delay_ratio > 0) families.grok_delay_ratio.Add({}).Set(state.generalisation.delay_ratio);
}

void RunMetrics::curve_event(const detect::Event& event) {
    const std::lock_guard lock(impl_->mutex);
    impl_->families.curve_events_total.Add({{"kind", std::string(word_of(event.kind))}}).Increment();
    impl_->record_last_event(event);
}

void RunMetrics::curve_history(const std::vector<detect::Event>& events) {
    const std::lock_guard lock(impl_->mutex);
    for (prometheus::Gauge*& gauge : impl_->last_events) {
        if (gauge != nullptr) impl_->families.curve_last_event_step.Remove(gauge);
        gauge = nullptr;
    }
    for (const detect::Event& event : events) impl_->record_last_event(event);
}

void RunMetrics::communicated(const Communication& part) {
    const prometheus::Labels labels = {{"axis", known_or_other(kAxes, part.axis)},
                                       {"operation", known_or_other(kOperations, part.operation)}};
    impl_->families.comm_operations_total.Add(labels).Increment(static_cast<double>(part.calls));
    impl_->families.comm_bytes_total.Add(labels).Increment(static_cast<double>(part.bytes));
    impl_->families.comm_seconds_total.Add(labels).Increment(part.seconds);
}

void RunMetrics::prepared_unit(std::uint64_t bytes, std::uint64_t documents, std::uint64_t tokens) {
    impl_->families.prepared_units_total.Add({}).Increment();
    impl_->families.prepared_bytes_total.Add({}).Increment(static_cast<double>(bytes));
    impl_->families.prepared_documents_total.Add({}).Increment(static_cast<double>(documents));
    impl_->families.prepared_tokens_total.Add({}).Increment(static_cast<double>(tokens));
}

void RunMetrics::checkpoint_committed(std::uint64_t step, std::uint64_t bytes, double seconds) {
    impl_->families.checkpoint_duration_seconds.Add({}, checkpoint_buckets()).Observe(seconds);
    impl_->families.checkpoint_bytes.Add({}).Set(static_cast<double>(bytes));
    impl_->families.checkpoint_last_step.Add({}).Set(static_cast<double>(step));
    impl_->families.checkpoint_last_success_timestamp_seconds.Add({}).Set(now_seconds());
}

void RunMetrics::checkpoint_queued(std::uint64_t step) {
    impl_->families.checkpoint_queued_step.Add({}).Set(static_cast<double>(step));
    impl_->families.checkpoint_in_flight.Add({}).Set(1);
}

void RunMetrics::checkpoint_ended() { impl_->families.checkpoint_in_flight.Add({}).Set(0); }

void RunMetrics::checkpoint_written(std::uint64_t bytes, double seconds) {
    impl_->families.checkpoint_written_bytes_total.Add({}).Increment(static_cast<double>(bytes));
    impl_->families.checkpoint_write_seconds_total.Add({}).Increment(seconds);
}

void RunMetrics::checkpoint_stalled(double seconds) {
    impl_->families.checkpoint_stall_seconds_total.Add({}).Increment(seconds);
}

void RunMetrics::checkpoint_skipped() { impl_->families.checkpoint_skipped_total.Add({}).Increment(); }

void RunMetrics::checkpoint_interval(std::uint64_t steps) {
    impl_->families.checkpoint_interval_steps.Add({}).Set(static_cast<double>(steps));
}

void RunMetrics::checkpoint_failed(const std::string& cause) {
    const std::lock_guard lock(impl_->mutex);
    impl_->checkpoint_failures.of(cause).Increment();
}

void RunMetrics::step_refused() {
    const std::lock_guard lock(impl_->mutex);
    impl_->families.nonfinite_steps_total.Add({}).Increment();
}

void RunMetrics::checkpoint_rejected(const std::string& cause) {
    const std::lock_guard lock(impl_->mutex);
    impl_->checkpoint_rejects.of(cause).Increment();
}

void RunMetrics::checkpoint_promoted(std::uint64_t step) {
    impl_->families.checkpoint_promoted_step.Add({}).Set(static_cast<double>(step));
}

void RunMetrics::checkpoint_scrubbed(std::uint64_t bytes) {
    impl_->families.checkpoint_scrubbed_bytes_total.Add({}).Increment(static_cast<double>(bytes));
}

void RunMetrics::restarted(const std::string& cause, std::uint64_t rolled_back_steps) {
    const std::lock_guard lock(impl_->mutex);
    impl_->restarts.of(cause).Increment();
    impl_->families.rollback_steps_total.Add({}).Increment(static_cast<double>(rolled_back_steps));
}

void RunMetrics::worker_up(int rank, bool up) {
    const std::lock_guard lock(impl_->mutex);
    impl_->worker_up.set(rank, up ? 1 : 0);
}

void RunMetrics::workers_gone() {
    const std::lock_guard lock(impl_->mutex);
    impl_->worker_up.set_all(0);
}

void RunMetrics::worker_heartbeat_age(int rank, double seconds) {
    const std::lock_guard lock(impl_->mutex);
    impl_->heartbeat_age.set(rank, seconds);
}

void RunMetrics::worker_step(int rank, std::uint64_t step) {
    const std::lock_guard lock(impl_->mutex);
    impl_->worker_step.set(rank, static_cast<double>(step));
}

void RunMetrics::worker_memory(int rank, std::uint64_t resident_bytes, std::uint64_t optimizer_bytes) {
    const std::lock_guard lock(impl_->mutex);
    impl_->resident_bytes.set(rank, static_cast<double>(resident_bytes));
    impl_->optimizer_bytes.set(rank, static_cast<double>(optimizer_bytes));
}

std::vector<std::shared_ptr<prometheus::Collectable>> RunMetrics::collectables() const {
    return {snapshot_, impl_->process};
}

std::string RunMetrics::text() const {
    std::string out;
    for (const auto& collectable : collectables())
        out += prometheus::TextSerializer().Serialize(collectable->Collect());
    return out;
}

}  // namespace kiban::monitoring
