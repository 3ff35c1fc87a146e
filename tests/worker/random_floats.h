// SPDX-License-Identifier: Apache-2.0
// Test data for the kernels: normal deviates from a counter, and running a kernel on a given number of threads. Not
// thread-safe.
#pragma once

#include <omp.h>

#include <cstdint>
#include <string>
#include <vector>

#include "worker/model/initial_values.h"

namespace kiban::worker {

inline std::vector<float> random_floats(std::int64_t count, const std::string& name, double deviation = 1.0) {
    std::vector<float> values(static_cast<std::size_t>(count));
    fill_normal(99, name, deviation, 0, count, values.data());
    return values;
}

/// Calls `work` with `threads` OpenMP threads and restores the number.
template <typename Work>
void with_threads(int threads, Work work) {
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    work();
    omp_set_num_threads(before);
}

}  // namespace kiban::worker
