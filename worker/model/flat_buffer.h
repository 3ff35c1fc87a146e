// SPDX-License-Identifier: Apache-2.0
// Aligned memory for flat parameters, gradients and gathered buckets.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

namespace kiban::worker {

struct FreeMemory {
    void operator()(void* memory) const { std::free(memory); }
};
using FlatBuffer = std::unique_ptr<float, FreeMemory>;

/// 64-byte aligned, all zero. InternalError when memory is out.
FlatBuffer zeroed_buffer(std::int64_t elements);

}  // namespace kiban::worker
