// SPDX-License-Identifier: Apache-2.0
#include "worker/parallel/pipeline_schedule.h"

#include <algorithm>

#include "monitoring/error.h"

namespace kiban::worker {

std::vector<PipelineAction> one_forward_one_backward(int stages, int micro_batches, int stage) {
    KIBAN_CHECK(stages >= 1 && stage >= 0 && stage < stages && micro_batches >= 0,
                "schedule {} micro-batches on stage {} of {}", micro_batches, stage, stages);
    using Kind = PipelineAction::Kind;
    std::vector<PipelineAction> actions;
    const int ahead = std::min(stages - stage - 1, micro_batches);
    for (int i = 0; i < ahead; ++i) actions.push_back({Kind::forward, i});
    for (int i = ahead; i < micro_batches; ++i) {
        actions.push_back({Kind::forward, i});
        actions.push_back({Kind::backward, i - ahead});
    }
    for (int i = micro_batches - ahead; i < micro_batches; ++i) actions.push_back({Kind::backward, i});
    return actions;
}

}  // namespace kiban::worker
