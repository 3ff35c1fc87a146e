// SPDX-License-Identifier: Apache-2.0
// What became of each row of the order that a run has used up, as its record tells: trained on, refused with its step,
// or left out. A pure function.
#pragma once

#include <cstdint>
#include <vector>

#include "coordinator/run/history.h"
#include "data/corpus.h"

namespace kiban::coordinator {

enum class RowFate { trained, refused, left_out };

struct RowSpan {
    data::RowRange rows;
    RowFate fate = RowFate::trained;
    std::uint64_t step = 0;  // of the update they made, or were refused for; the next one when left out
};

struct RowRecord {                 // what a run says of itself
    std::uint64_t first_step = 0;  // the rows begin after it (first_step_of_rows())
    std::uint64_t step = 0;        // completed, of the newest checkpoint
    std::uint64_t position = 0;    // its position
    std::uint64_t batch_rows = 0;
    std::vector<data::RowRange> left_out = {};
    std::vector<RefusedBatch> refused = {};
};

/// The order's rows [0, position) without a gap. DataError when the steps, with what was refused and left out, do not
/// add up to the position.
std::vector<RowSpan> walk_rows(const RowRecord& record);

}  // namespace kiban::coordinator
