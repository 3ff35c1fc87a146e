// SPDX-License-Identifier: Apache-2.0
// What this process computes with: said in Hello, stored in checkpoints, part of the exactness level of a resume.
#pragma once

#include <string>

#include "coordinator/protocol/messages.h"
#include "worker/comm/group.h"

namespace kiban::worker {

struct Runtime {
    std::string host;
    int pid = 0;
    std::string kernels;  // such as "oneDNN 2.6.3 on x86-64-v4, OpenBLAS Haswell"
    int threads = 1;
    std::string torch_version;
    std::string mpi_version;
    std::string hdf5_version;
};

/// Gives LibTorch the number of threads that OMP_NUM_THREADS says, and looks around. ConfigError when the variable is
/// no number above 0.
Runtime start_runtime();

coordinator::Hello hello_of(const Runtime& runtime, const Group& world);

/// Memory of this process that is in use now (the operating system's resident set).
std::uint64_t resident_bytes();

}  // namespace kiban::worker
