// SPDX-License-Identifier: Apache-2.0
// Aligned memory of the device (worker/device/device.h) for flat parameters, gradients and gathered buckets.
#pragma once

#include <cstdint>
#include <memory>

namespace kiban::worker {

struct FreeMemory {
    std::shared_ptr<void> owner = nullptr;  // of a device's memory; null: it came from malloc
    void operator()(void* memory);
};
using FlatBuffer = std::unique_ptr<float, FreeMemory>;

/// 64-byte aligned, all zero. InternalError when memory is out.
FlatBuffer zeroed_buffer(std::int64_t elements);

}  // namespace kiban::worker
