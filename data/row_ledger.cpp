// SPDX-License-Identifier: Apache-2.0
#include "data/row_ledger.h"

#include <algorithm>

#include "monitoring/error.h"

namespace kiban::data {

RowLedger::RowLedger(const std::vector<std::uint64_t>& rows) {
    for (const std::uint64_t of_source : rows) {
        sources_.push_back({.rows = of_source});
        seen_.emplace_back(of_source, false);
    }
}

void RowLedger::use(const RowRef& row) {
    if (row.source >= sources_.size() || row.row >= sources_[row.source].rows) {
        throw DataError("row {} of source {}: expected one of {} sources and of its rows", row.row, row.source,
                        sources_.size());
    }
    SourceLedger& source = sources_[row.source];
    std::vector<bool>& seen = seen_[row.source];
    if (row.epoch > source.epoch) {
        source.lost += source.rows - source.used + (row.epoch - source.epoch - 1) * source.rows;
        source.epoch = row.epoch;
        source.used = 0;
        std::fill(seen.begin(), seen.end(), false);
    }
    if (row.epoch < source.epoch || seen[row.row]) {
        ++source.repeated;
        return;
    }
    seen[row.row] = true;
    ++source.used;
}

}  // namespace kiban::data
