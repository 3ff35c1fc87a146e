// SPDX-License-Identifier: Apache-2.0
// What this process has exchanged since it was last asked (worker/comm/traffic.h), as a step's report carries it.
#pragma once

#include <vector>

#include "coordinator/protocol/messages.h"
#include "worker/comm/traffic.h"

namespace kiban::worker {

class StepTraffic {
  public:
    /// Those with calls since the last take(), at the first one since the start of the process. Nobody may have reset
    /// the counts in between.
    std::vector<coordinator::Traffic> take();

  private:
    std::vector<TrafficRow> before_;
};

}  // namespace kiban::worker
