// SPDX-License-Identifier: Apache-2.0
// Brings this process to the device that the run file names: kernels, memory, and how tensors travel between workers.
#pragma once

#include <string>

#include "coordinator/job/train_config.h"
#include "worker/comm/group.h"
#include "worker/device/device.h"

namespace kiban::worker {

/// use_device, and the verbs of groups know that tensors are there. Before the first tensor, while no verb is under
/// way.
void compute_on(const Device& device);

/// Collective: workers of one machine share out its devices. ConfigError on every worker that finds none. Before the
/// first tensor.
void compute_on_device_of(const coordinator::TrainConfig& train, const Group& world);

/// What computes here, for the record that a resume is compared with: `native` where native kernels do.
std::string kernels_here(const std::string& native);

}  // namespace kiban::worker
