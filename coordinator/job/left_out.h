// SPDX-License-Identifier: Apache-2.0
// Rows of the sample order that no update is to see: those of a step that crashed the workers, or that a rollback
// passes over. Pure functions; every worker is told the same rows with its job.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <vector>

#include "data/corpus.h"

namespace kiban::coordinator {

/// Where the next batch of `rows` rows begins when the order has been used up to `position`: there, or behind the
/// ranges that it would touch.
std::uint64_t next_position(std::uint64_t position, std::uint64_t rows, const std::vector<data::RowRange>& left_out);

nlohmann::json to_json(const std::vector<data::RowRange>& left_out);  // [[first, count], ...]
/// ConfigError when it is no such list.
std::vector<data::RowRange> row_ranges_from_json(const nlohmann::json& json);

}  // namespace kiban::coordinator
