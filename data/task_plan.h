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

std::vector<PlannedTask> plan_gathering(const std::vector<PlannedShard>& shards, const Tokenizer& tokenizer,
                                        const std::string& config_sha256, const std::filesystem::path& corpus);

}  // namespace kiban::data
