// SPDX-License-Identifier: Apache-2.0
// Memory for buckets that are here for a while: taken and given back, never returned to the system, so that the peak is
// reached in the first step. Not thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/model/flat_buffer.h"

namespace kiban::worker {

class BucketPool {
  public:
    /// At least `elements` floats, with any content: the smallest free one that is large enough, or a new one.
    float* take(std::int64_t elements);
    void give_back(float* memory);
    /// Of everything it ever made.
    std::uint64_t bytes() const;

  private:
    struct Slot {
        FlatBuffer memory;
        std::int64_t elements = 0;
        bool taken = false;
    };
    std::vector<Slot> slots_;
};

}  // namespace kiban::worker
