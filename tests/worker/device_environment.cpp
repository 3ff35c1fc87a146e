// SPDX-License-Identifier: Apache-2.0
// Linked to a test program, lets it be run once more with LibTorch's kernels: KIBAN_TEST_KERNELS=aten.
#include <cstdlib>
#include <string_view>

#include "worker/device/device.h"

namespace kiban::worker {
namespace {

[[maybe_unused]] const bool chosen = [] {
    const char* kernels = std::getenv("KIBAN_TEST_KERNELS");
    if (kernels != nullptr) use_device(device_of("cpu", kernels, 0));
    return kernels != nullptr;
}();

}  // namespace
}  // namespace kiban::worker
