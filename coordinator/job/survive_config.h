// SPDX-License-Identifier: Apache-2.0
// Sections [supervise] and [anomaly] of the run file: what a run does about failures, and about steps that go wrong.
#pragma once

#include <cstdint>

namespace kiban::coordinator {

struct SuperviseConfig {
    double restart_window_hours = 6;      // in which launch.max_restarts are counted
    std::uint32_t max_failed_starts = 3;  // attempts in a row that end before they have done anything
    double backoff_seconds = 0.5;         // before the first restart; doubles until something durable is added
    double max_backoff_seconds = 300;     // the longest
    std::uint32_t max_quarantines = 3;    // batches of rows left out because they crash the workers; 0: none
    std::uint32_t max_host_failures = 2;  // crashes of workers on a host after which it is left out; 0: never
    double exclude_hours = 24;            // so long later starts of the coordinator leave it out, too; 0: they do not
    std::uint32_t min_workers = 0;     // to go on with where hosts are left out and the others have less room; 0: all
    double hang_seconds = 20;          // least time without progress in a step that counts as a hang; 0: no watch
    double first_steps_seconds = 300;  // the same, until five steps were measured
    double data_seconds = 120;         // the same, while rows are read
    double slow_phase_seconds = 1800;  // the same, of loading, evaluation, saves and whatever is no step
    double straggler_ratio = 1.5;      // own time over the median of the others that names one; 0: nobody
};

struct AnomalyConfig {
    std::uint32_t window_steps = 100;   // healthy steps that say what is usual; before so many, nothing is a spike
    double spike_norm_ratio = 10;       // gradient norm over the largest of the window; 0: not looked at
    double spike_loss_deviations = 10;  // of the loss above the window's median; 0: not looked at
    std::uint32_t max_consecutive = 3;  // refused steps in a row that lead to a rollback
    std::uint32_t max_in_window = 5;    // refused steps among the last window_steps that do, too
    std::uint64_t skip_steps = 200;     // batches left out by a rollback: so many up to the last refused one
    std::uint32_t max_rollbacks = 3;    // in 10 000 steps; with one more the run stops for a person
    std::uint64_t suspect_after_load_steps = 50;  // a rollback so soon after a load rejects what was loaded
};

}  // namespace kiban::coordinator
