// SPDX-License-Identifier: Apache-2.0
// Where a kernel adds a parameter's gradient: into memory that other passes may already have added to.
#pragma once

namespace kiban::worker {

struct Accumulator {
    float* sums = nullptr;  // null: this gradient is not wanted
    float beta = 0;         // sums = beta * sums + what the kernel computes; 0: what stood there is not read
};

}  // namespace kiban::worker
