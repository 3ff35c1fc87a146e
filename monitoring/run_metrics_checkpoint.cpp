// SPDX-License-Identifier: Apache-2.0
// Events of checkpoints.
#include "monitoring/run_metrics_impl.h"

namespace kiban::monitoring {

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

}  // namespace kiban::monitoring
