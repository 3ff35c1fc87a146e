// SPDX-License-Identifier: Apache-2.0
// Events of failures, hangs, stragglers and refused steps.
#include "monitoring/run_metrics_impl.h"

namespace kiban::monitoring {

void RunMetrics::decided(const std::string& rule) {
    const std::lock_guard lock(impl_->mutex);
    impl_->decisions.of(rule).Increment();
}

void RunMetrics::hang(const std::string& phase) {
    const std::lock_guard lock(impl_->mutex);
    impl_->hangs.of(phase).Increment();
}

void RunMetrics::anomaly(const std::string& kind) {
    const std::lock_guard lock(impl_->mutex);
    impl_->anomalies.of(kind).Increment();
    if (kind == kNonFiniteCause) impl_->families.nonfinite_steps_total.Add({}).Increment();
}

void RunMetrics::rolled_back() { impl_->families.anomaly_rollbacks_total.Add({}).Increment(); }

void RunMetrics::rows_left_out(std::uint64_t rows) {
    impl_->families.left_out_rows_total.Add({}).Increment(static_cast<double>(rows));
}

void RunMetrics::hosts_excluded(std::size_t hosts) {
    impl_->families.excluded_hosts.Add({}).Set(static_cast<double>(hosts));
}

void RunMetrics::worker_busy(int rank, double seconds, bool straggler) {
    const std::lock_guard lock(impl_->mutex);
    impl_->busy_seconds.set(rank, seconds);
    impl_->straggler.set(rank, straggler ? 1 : 0);
}

}  // namespace kiban::monitoring
