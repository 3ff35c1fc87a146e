// SPDX-License-Identifier: Apache-2.0
// Counts rows as they are used, source by source and epoch by epoch, and knows which came twice and which never: one
// bit a row. It knows nothing of how an order is made. One thread.
#pragma once

#include <cstdint>
#include <vector>

#include "data/order.h"

namespace kiban::data {

struct SourceLedger {
    std::uint64_t rows = 0;      // of an epoch
    std::uint64_t epoch = 0;     // that its last row was of
    std::uint64_t used = 0;      // rows of that epoch, each once
    std::uint64_t repeated = 0;  // that came again in their epoch, or when it was over
    std::uint64_t lost = 0;      // that had not come when another epoch began

    bool faulty() const { return repeated > 0 || lost > 0; }
};

class RowLedger {
  public:
    /// `rows` of an epoch of each source.
    explicit RowLedger(const std::vector<std::uint64_t>& rows);

    /// Rows come in the order of the run. DataError for a row that its source does not have.
    void use(const RowRef& row);
    const std::vector<SourceLedger>& sources() const { return sources_; }

  private:
    std::vector<SourceLedger> sources_;
    std::vector<std::vector<bool>> seen_;  // in the epoch, by source
};

}  // namespace kiban::data
