// SPDX-License-Identifier: Apache-2.0
// The order of a run's rows, from its files: what its newest good checkpoint says and the run file goes on with. Reads
// only. Errors: those of checkpoints, manifest and corpus; DataError when the corpus is not the run's any more.
#pragma once

#include <optional>
#include <set>
#include <vector>

#include "checkpoint/state.h"
#include "coordinator/config/run_file.h"
#include "coordinator/run/run_directory.h"
#include "data/corpus.h"

namespace kiban::coordinator {

/// The resolved run file; nullopt when there is none yet.
std::optional<RunFile> run_file_of(const RunDirectory& directory);

/// Of the newest checkpoint without a quick fault; nullopt: there is none.
std::optional<checkpoint::RunState> newest_state(const RunDirectory& directory);

/// The mixture of the whole order, as the run last went on; the run file may say otherwise for the next start.
std::vector<data::MixtureSegment> mixture_of_run(const RunDirectory& directory, const RunFile& run_file);

/// Documents that the run hides, as it last read them.
std::set<data::DocumentId> forgotten_by(const RunDirectory& directory);

/// The corpus as the run reads it now.
data::Corpus corpus_of_run(const RunDirectory& directory, const RunFile& run_file);

}  // namespace kiban::coordinator
