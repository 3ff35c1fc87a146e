// SPDX-License-Identifier: Apache-2.0
#include "worker/parallel/bucket_pool.h"

#include "monitoring/error.h"

namespace kiban::worker {

float* BucketPool::take(std::int64_t elements) {
    Slot* best = nullptr;
    for (Slot& slot : slots_) {
        if (slot.taken || slot.elements < elements) continue;
        if (best == nullptr || slot.elements < best->elements) best = &slot;
    }
    if (best == nullptr) best = &slots_.emplace_back(Slot{zeroed_buffer(elements), elements, false});
    best->taken = true;
    return best->memory.get();
}

void BucketPool::give_back(float* memory) {
    for (Slot& slot : slots_) {
        if (slot.memory.get() != memory) continue;
        KIBAN_CHECK(slot.taken, "give back a bucket of {} elements twice", slot.elements);
        slot.taken = false;
        return;
    }
    throw InternalError("give back memory that is not of this pool");
}

std::uint64_t BucketPool::bytes() const {
    std::uint64_t sum = 0;
    for (const Slot& slot : slots_) sum += static_cast<std::uint64_t>(slot.elements) * sizeof(float);
    return sum;
}

}  // namespace kiban::worker
