// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/cpus.h"

#include <sched.h>

#include <algorithm>

namespace kiban::coordinator {

int usable_cpus() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return std::max(1, CPU_COUNT(&set));
}

}  // namespace kiban::coordinator
