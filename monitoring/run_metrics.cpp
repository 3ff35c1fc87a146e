// SPDX-License-Identifier: Apache-2.0
#include "monitoring/run_metrics.h"

#include <prometheus/text_serializer.h>

#include <utility>

#include "monitoring/error.h"
#include "monitoring/run_metrics_impl.h"

namespace kiban::monitoring {

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
    impl_->busy_seconds.clear();
    impl_->straggler.clear();
    impl_->worker_seconds.other_processes();
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
    impl_->health.clear();  // of steps that may be no more
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

void RunMetrics::health(std::uint64_t step, const ModelHealth& health) {
    const std::lock_guard lock(impl_->mutex);
    impl_->health.show(step, health);
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

void RunMetrics::curve_event_again(const detect::Event& event) {
    const std::lock_guard lock(impl_->mutex);
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

void RunMetrics::restarted(const std::string& cause, std::uint64_t rolled_back_steps,
                           std::uint64_t rolled_back_tokens) {
    const std::lock_guard lock(impl_->mutex);
    impl_->restarts.of(cause).Increment();
    impl_->families.rollback_steps_total.Add({}).Increment(static_cast<double>(rolled_back_steps));
    impl_->families.rollback_tokens_total.Add({}).Increment(static_cast<double>(rolled_back_tokens));
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

void RunMetrics::worker_seconds(int rank, const std::map<std::string, double>& phase_seconds) {
    const std::lock_guard lock(impl_->mutex);
    std::map<std::string, double> of_phases;
    for (const auto& [phase, seconds] : phase_seconds)
        if (std::isfinite(seconds)) of_phases[known_or_other(kWorkerPhases, phase)] += seconds;
    for (const auto& [phase, seconds] : of_phases) impl_->worker_seconds.reached(rank, phase, seconds);
}

namespace {

// Words of run files are among them: the first thirty have series of their own.
void show_counts(MetricFamilies::Gauges& family, const char* label,
                 const std::map<std::string, std::uint64_t>& counts) {
    constexpr std::size_t kMost = 30;
    std::map<std::string, std::uint64_t> shown;
    for (const auto& [word, count] : counts) shown[shown.size() < kMost ? word : "other"] += count;
    for (const auto& [word, count] : shown) family.Add({{label, word}}).Set(static_cast<double>(count));
}

}  // namespace

void RunMetrics::corpus_cleaned(const std::map<std::string, std::uint64_t>& dropped,
                                const std::map<std::string, std::uint64_t>& redacted) {
    const std::lock_guard lock(impl_->mutex);
    show_counts(impl_->families.corpus_dropped_documents, "reason", dropped);
    show_counts(impl_->families.corpus_redacted_values, "kind", redacted);
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
