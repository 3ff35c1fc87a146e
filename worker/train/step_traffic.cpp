// SPDX-License-Identifier: Apache-2.0
#include "worker/train/step_traffic.h"

#include <algorithm>
#include <utility>

namespace kiban::worker {

std::vector<coordinator::Traffic> StepTraffic::take() {
    std::vector<TrafficRow> now = traffic();
    std::vector<coordinator::Traffic> since;
    for (const TrafficRow& row : now) {
        const auto found = std::find_if(before_.begin(), before_.end(), [&](const TrafficRow& before) {
            return before.group == row.group && before.operation == row.operation;
        });
        const TrafficRow before = found == before_.end() ? TrafficRow{} : *found;
        if (row.calls == before.calls) continue;
        since.push_back({.group = row.group,
                         .operation = row.operation,
                         .calls = row.calls - before.calls,
                         .bytes = row.bytes - before.bytes,
                         .seconds = row.seconds - before.seconds});
    }
    before_ = std::move(now);
    return since;
}

}  // namespace kiban::worker
