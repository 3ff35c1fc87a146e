// SPDX-License-Identifier: Apache-2.0
#include "worker/train/compute_device.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <vector>

#include "monitoring/error.h"
#include "monitoring/log.h"
#include "worker/comm/staging.h"
#include "worker/device/memory.h"

namespace kiban::worker {

namespace {

// The number of this worker among those of its machine.
int local_rank(const Group& world) {
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    const std::vector<std::string> hosts = world.all_gather(std::string(host.data()));
    return static_cast<int>(std::count(hosts.begin(), hosts.begin() + world.rank(), host.data()));
}

}  // namespace

void compute_on(const Device& device) {
    use_device(device);
    stage_floats(tensors_on_host() ? Staging{} : Staging{transfer_buffer, to_host, from_host});
}

void compute_on_device_of(const coordinator::TrainConfig& train, const Group& world) {
    compute_on(device_of(train.device, train.kernels, local_rank(world)));
    if (aten_kernels()) monitoring::log_info("computes with {}, device {}", device().text(), device().index);
}

std::string kernels_here(const std::string& native) {
    return aten_kernels() ? fmt::format("{}, {}", device().text(), native) : native;
}

}  // namespace kiban::worker
