// SPDX-License-Identifier: Apache-2.0
// Buckets of parameters and gradients that come and go at ZeRO 2 and 3. Internal to coordinator/job.
#pragma once

#include <cstdint>
#include <vector>

#include "coordinator/job/plan_stage.h"

namespace kiban::coordinator {

/// Bytes of the pool that buckets are gathered into and gradients summed in (worker/parallel/bucket_pool.h), which
/// never shrinks: the order of takes and returns of worker/parallel/zero_sharding.cpp, where at stage 3 the next bucket
/// comes while one is used. 0 below stage 2.
std::uint64_t pool_bytes(const PlannedStage& stage);

/// How often each bucket's values are used in a micro-batch: one gather each at stage 3. By bucket.
std::vector<std::uint64_t> uses_of_buckets(const PlannedStage& stage);

}  // namespace kiban::coordinator
