// SPDX-License-Identifier: Apache-2.0
// Rows of a run's embedding: what the run file says of model and tokenizer together.
#pragma once

#include <cstdint>

#include "coordinator/config/run_file.h"

namespace kiban::coordinator {

/// Reads the tokenizer.json where the run file names one. ConfigError when model.vocabulary is smaller than the
/// tokenizer's; errors of data::Tokenizer::from_file().
std::int64_t vocabulary_of(const RunFile& file);

}  // namespace kiban::coordinator
