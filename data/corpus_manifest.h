// SPDX-License-Identifier: Apache-2.0
// The manifest of a corpus from the results of its tasks: pure functions.
#pragma once

#include <nlohmann/json.hpp>

#include <vector>

#include "data/config.h"
#include "data/manifest.h"
#include "data/shard_plan.h"
#include "data/tokenizer.h"
#include "data/units.h"

namespace kiban::data {

/// Without shards and the sources' ids. `unit_results[i]` is that of `units[i]`, without duplicates.
Manifest manifest_of(const Tokenizer& tokenizer, std::vector<ManifestSource> sources,
                     const std::vector<std::vector<InputFile>>& inputs, const std::vector<Unit>& units,
                     const std::vector<nlohmann::json>& unit_results);

/// DataError for a source with more lines that are no documents than its max_bad_lines. `results` are those of
/// "tokenize".
void check_rejected(const DataConfig& config, const std::vector<Unit>& units,
                    const std::vector<nlohmann::json>& results);

/// What the documents were compared with; `result` is that of the task "evaluation".
void add_evaluation(Manifest& manifest, const ContaminationConfig& config, const nlohmann::json& result);

/// The shards, and from their blocks the sources' ids.
void add_shards(Manifest& manifest, const std::vector<PlannedShard>& shards,
                const std::vector<nlohmann::json>& results);

}  // namespace kiban::data
