// SPDX-License-Identifier: Apache-2.0
// What one worker exchanges in a step. Internal to coordinator/job.
#pragma once

#include <vector>

#include "coordinator/job/plan_stage.h"

namespace kiban::coordinator {

/// By group and operation; what has no calls is left out. Bytes by the closed forms of worker/comm/traffic.h: of a
/// buffer of n bytes over N ranks, with an own part of p, a reduce_scatter sends n - p, an all_gather (N - 1) p, an
/// all_reduce both, a send n; a group of one sends nothing and counts nothing.
std::vector<TrafficPlan> traffic_of_step(const PlannedStage& stage);

}  // namespace kiban::coordinator
