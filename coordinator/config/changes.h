// SPDX-License-Identifier: Apache-2.0
// What a change of the run file means to a run that exists: the weights that it holds stay those of the same model, and
// live keys change while it runs. Pure functions; errors: ConfigError.
#pragma once

#include <string>
#include <vector>

#include "coordinator/config/run_file.h"

namespace kiban::coordinator {

/// Of the changes that forbid a resume those that also forbid a fork: what the stored tensors are (model but its
/// rope_theta and attention, tokenizer, optimizer and, for gpt2, whose positions are weights, the length of a row).
/// "key: saved X, now Y" lines.
std::vector<std::string> changes_of_tensors(const RunFile& saved, const RunFile& now);

/// Of those that forbid a resume those that also forbid to begin with imported weights: they were trained elsewhere
/// with all that the model is, rope_theta too; what they attended to is not known.
std::vector<std::string> changes_of_import(const RunFile& saved, const RunFile& now);

/// Whether the changes make the rows of the run others: sources, holdout, packing, length of a row, seed.
bool changes_rows(const RunFile& saved, const RunFile& now);

/// A key's value as TOML; empty when there is no such key.
std::string text_of_key(const RunFile& run_file, const std::string& key);

struct LiveChange {
    std::string key;
    std::string from;  // as TOML
    std::string to;
};

/// Applies KEY=VALUE settings. ConfigError, and nothing changed, for a key that is not live or not known and for a
/// value that does not fit; UsageError for what is no KEY=VALUE.
std::vector<LiveChange> change_live(RunFile& run_file, const std::vector<std::string>& settings);

}  // namespace kiban::coordinator
