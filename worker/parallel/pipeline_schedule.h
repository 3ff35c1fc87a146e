// SPDX-License-Identifier: Apache-2.0
// In which order a pipeline stage passes its micro-batches: a pure function, so that other schedules can follow.
#pragma once

#include <vector>

namespace kiban::worker {

struct PipelineAction {
    enum class Kind { forward, backward } kind = Kind::forward;
    int micro_batch = 0;
    bool operator==(const PipelineAction&) const = default;
};

/// One forward, one backward (1F1B; Narayanan et al. 2019, 2021): stage s of S passes min(S - s - 1, M) micro-batches
/// forward, then one forward and one backward in turn, then what is left backward. At most S - s micro-batches are
/// under way at once. Both directions go through the micro-batches in ascending order.
std::vector<PipelineAction> one_forward_one_backward(int stages, int micro_batches, int stage);

}  // namespace kiban::worker
