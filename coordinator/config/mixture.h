// SPDX-License-Identifier: Apache-2.0
// How the sources of a run are mixed over the whole of its order. The weights of the run file may change from start to
// start, and sources may be added behind the others: from the row on where the run goes on, the order is mixed anew. A
// pure function of the checkpoint, the run file and the record, so that whoever reads them knows the order.
#pragma once

#include <vector>

#include "checkpoint/state.h"
#include "coordinator/config/run_file.h"
#include "data/corpus.h"
#include "data/order.h"

namespace kiban::coordinator {

/// Of the run file's sources, in their order.
std::vector<double> weights_of(const RunFile& run_file);

/// How the run file's rows are made of documents.
data::RowLayout layout_of(const RunFile& run_file);

/// The mixture of a run that goes on from `saved` (null: from its first row) with this run file. `recorded`: what the
/// run's record has of the whole order; none before a first change, then the checkpoint's own. A change that came to be
/// behind `saved`, before the run went back to it, stays at its row: rows that are left out, and those that are done
/// again, are the same ones.
std::vector<data::MixtureSegment> mixture_of(const checkpoint::RunState* saved, const RunFile& now,
                                             std::vector<data::MixtureSegment> recorded = {});

/// The first row from which two orders of the same rows are mixed otherwise; the largest number there is: never.
std::uint64_t same_rows_until(const std::vector<data::MixtureSegment>& a, const std::vector<data::MixtureSegment>& b);

}  // namespace kiban::coordinator
