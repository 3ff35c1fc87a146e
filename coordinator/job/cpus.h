// SPDX-License-Identifier: Apache-2.0
// The CPUs that this process may use. Any thread.
#pragma once

namespace kiban::coordinator {

/// Of the affinity mask (a container's or Slurm's share counts, not the machine's); at least 1.
int usable_cpus();

}  // namespace kiban::coordinator
