// SPDX-License-Identifier: Apache-2.0
// What a job trains on: its corpus as the run file says that rows are made of it, and the width of the vocabulary.
#pragma once

#include <cstdint>
#include <vector>

#include "coordinator/config/run_file.h"
#include "coordinator/protocol/messages.h"
#include "data/corpus.h"

namespace kiban::worker {

/// Reads and checks the corpus of a job. DataError when its digest is not the job's.
data::Corpus open_corpus(const coordinator::Job& job, const coordinator::RunFile& run_file);

/// How the job's order is mixed: as the coordinator says, else as the run file does from the first row on.
std::vector<data::MixtureSegment> mixture_of_job(const coordinator::Job& job, const coordinator::RunFile& run_file);

/// Rows of the embedding: the tokenizer's vocabulary, or more when the run file pads it. ConfigError when it asks for
/// fewer.
std::int64_t resolved_vocabulary(const coordinator::ModelConfig& model, std::uint32_t tokenizer_vocabulary);

}  // namespace kiban::worker
