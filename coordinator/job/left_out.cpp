// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/left_out.h"

#include "monitoring/error.h"

namespace kiban::coordinator {

std::uint64_t next_position(std::uint64_t position, std::uint64_t rows, const std::vector<data::RowRange>& left_out) {
    for (bool moved = true; moved;) {
        moved = false;
        for (const data::RowRange& range : left_out) {
            const std::uint64_t end = range.first + range.count;
            if (position + rows <= range.first || position >= end) continue;
            position = end;
            moved = true;
        }
    }
    return position;
}

nlohmann::json to_json(const std::vector<data::RowRange>& left_out) {
    nlohmann::json json = nlohmann::json::array();
    for (const data::RowRange& range : left_out) json.push_back({range.first, range.count});
    return json;
}

std::vector<data::RowRange> row_ranges_from_json(const nlohmann::json& json) {
    std::vector<data::RowRange> ranges;
    const auto refuse = [&json] {
        throw ConfigError("rows to be left out: expected [[first, count], ...], found {}", json.dump().substr(0, 64));
    };
    if (!json.is_array()) refuse();
    for (const nlohmann::json& pair : json) {
        if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_unsigned() || !pair[1].is_number_unsigned())
            refuse();
        ranges.push_back({.first = pair[0].get<std::uint64_t>(), .count = pair[1].get<std::uint64_t>()});
    }
    return ranges;
}

}  // namespace kiban::coordinator
