// SPDX-License-Identifier: Apache-2.0
// What the journal knows of earlier starts of a run. Pure functions.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "coordinator/config/run_file.h"
#include "coordinator/run/policy.h"
#include "data/corpus.h"
#include "data/order.h"

namespace kiban::coordinator {

/// train.steps of a start whose run file says `steps`: where operators extended the run from there, what they said
/// last. What the file says otherwise, it says on purpose.
std::uint64_t extended_steps(const std::vector<nlohmann::json>& journal, std::uint64_t steps);

/// The run file of a start: where operators set live keys of the run from the value that the file says, what they said
/// last. A setting that the file's other keys no longer allow is left out.
RunFile with_live_settings(const std::vector<nlohmann::json>& journal, const RunFile& run_file);

/// Seconds that the checkpoint committed last took; 0: there was none.
double seconds_of_last_save(const std::vector<nlohmann::json>& journal);

/// Starts in a row, up to the last entry, that were asked to leave, or ended without a word, and had added nothing
/// durable: no checkpoint, no part of the corpus. One that has not ended yet is none of them.
std::uint32_t starts_without_progress(const std::vector<nlohmann::json>& journal);

/// Rows that were left out for good: of quarantined steps and of rollbacks.
std::vector<data::RowRange> left_out_rows(const std::vector<nlohmann::json>& journal);

/// Their entries in the journal: first, count, step, why.
std::vector<nlohmann::json> left_out_entries(const std::vector<nlohmann::json>& journal);

/// How many rows from the first one on were surely trained on in the order's own order, so that step S made its update
/// with the rows (S - 1) B .. S B - 1 when S B is at most that: up to the first that a refused step passed over or that
/// was left out. The largest number there is when there is none.
std::uint64_t rows_in_order(const std::vector<nlohmann::json>& journal);

struct RefusedBatch {
    std::uint64_t step = 0;  // that was tried with it
    data::RowRange rows;
};

/// Batches of the surviving history that a refused step used up, in the order of the journal.
std::vector<RefusedBatch> refused_batches(const std::vector<nlohmann::json>& journal);

/// The journal's entry of a fork for a batch that its parent's step was refused with.
nlohmann::json entry_of(const RefusedBatch& batch);

/// Their steps.
std::vector<std::uint64_t> refused_steps(const std::vector<nlohmann::json>& journal);

/// Hosts that workers were started without, and that are not to be taken again before `wall_now` (seconds since 1970).
std::set<std::string> left_out_hosts(const std::vector<nlohmann::json>& journal, double wall_now);

/// The step from which the run's own rows count from 0: where it, or whom it was forked from with the same rows, was
/// forked with other rows; 0: its first.
std::uint64_t first_step_of_rows(const std::vector<nlohmann::json>& journal);

/// Whether the run, or whom it was forked from with the same rows, once had other targets in them than now: documents
/// were forgotten, or a fork let tokens attend otherwise.
bool other_targets(const std::vector<nlohmann::json>& journal);

/// The mixture of the whole order as the run last changed it; none: it never did.
std::vector<data::MixtureSegment> recorded_mixture(const std::vector<nlohmann::json>& journal);

/// What the policy remembers of earlier starts: steps whose rows are left out, rollbacks.
PolicyState policy_state(const std::vector<nlohmann::json>& journal);

}  // namespace kiban::coordinator
