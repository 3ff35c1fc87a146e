// SPDX-License-Identifier: Apache-2.0
// The tasks of a preparation as messages (data/tasks.h says what is in them): pure functions of the plan.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/config.h"
#include "data/shard_plan.h"
#include "data/tokenizer.h"
#include "data/units.h"

namespace kiban::data {

struct PlannedTask {
    nlohmann::json message;         // without its id
    std::uint64_t input_bytes = 0;  // that it reads; 0 for one that only gathers
};

/// For each unit that has something to count: with `by = "tail"` the end of each source, by bytes of its files, has
/// not.
std::vector<PlannedTask> plan_counting(const DataConfig& config, const std::vector<Unit>& units,
                                       const std::filesystem::path& corpus);

/// `counted` are the results of plan_counting's tasks.
PlannedTask plan_training(const DataConfig& config, const std::vector<Unit>& units,
                          const std::vector<nlohmann::json>& counted, const std::filesystem::path& corpus);

std::vector<PlannedTask> plan_tokenizing(const DataConfig& config, const std::vector<Unit>& units,
                                         const Tokenizer& tokenizer, const std::filesystem::path& corpus);

/// `units` with so many documents together.
std::vector<PlannedTask> plan_deduplication(std::size_t units, std::uint64_t documents,
                                            const std::filesystem::path& corpus);

/// For near duplicates: one task a band, then one that joins them, whose result is one range of duplicates more.
std::vector<PlannedTask> plan_linking(std::size_t units, const std::filesystem::path& corpus);
PlannedTask plan_joining(std::uint64_t ranges, const std::filesystem::path& corpus);

/// Before all others.
PlannedTask plan_evaluation(const DataConfig& config, const std::vector<InputFile>& files,
                            const std::filesystem::path& corpus);

/// The units' results without what `deduplicated`, the results of plan_deduplication's and plan_joining's tasks, leaves
/// out; it is counted among what was dropped.
std::vector<nlohmann::json> without_duplicates(std::vector<nlohmann::json> results,
                                               const std::vector<nlohmann::json>& deduplicated);

std::vector<PlannedTask> plan_gathering(const std::vector<PlannedShard>& shards, const Tokenizer& tokenizer,
                                        const std::string& config_sha256, std::uint64_t duplicate_ranges,
                                        const std::filesystem::path& corpus);

}  // namespace kiban::data
