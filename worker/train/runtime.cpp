// SPDX-License-Identifier: Apache-2.0
#include "worker/train/runtime.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <torch/version.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <string_view>

#include "coordinator/job/version.h"
#include "data/h5.h"
#include "monitoring/error.h"
#include "worker/comm/mpi_environment.h"
#include "worker/kernels/gemm.h"

namespace kiban::worker {
namespace {

int threads_of_environment() {
    const char* text = std::getenv("OMP_NUM_THREADS");
    if (text == nullptr) return 1;
    const std::string_view value = text;
    int threads = 0;
    const auto end = value.data() + value.size();
    if (std::from_chars(value.data(), end, threads).ptr != end || threads < 1) {
        throw ConfigError("OMP_NUM_THREADS: expected a number of threads of at least 1, found '{}'", value);
    }
    return threads;
}

// The widest vector instructions that kernels chosen at run time use here (the levels of the x86-64 psABI).
const char* instruction_set() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") != 0) return "x86-64-v4";
    if (__builtin_cpu_supports("avx2") != 0) return "x86-64-v3";
    return "x86-64";
#else
    return "generic";
#endif
}

// OpenBLAS says which kernels it chose; other libraries have no such function.
std::string blas_kernels() {
    using CoreName = char* (*)();
    const auto name = reinterpret_cast<CoreName>(::dlsym(RTLD_DEFAULT, "openblas_get_corename"));
    const std::string blas = name != nullptr ? fmt::format("OpenBLAS {}", name()) : "unknown BLAS";
    return fmt::format("{} on {}, {}", gemm_library(), instruction_set(), blas);
}

std::string hdf5_version() {
    const std::lock_guard lock(data::h5_mutex());
    unsigned major = 0;
    unsigned minor = 0;
    unsigned release = 0;
    data::h5_check(H5get_libversion(&major, &minor, &release), "ask HDF5 for its version");
    return fmt::format("{}.{}.{}", major, minor, release);
}

}  // namespace

Runtime start_runtime() {
    at::set_num_threads(threads_of_environment());
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    return {.host = host.data(),
            .pid = ::getpid(),
            .kernels = blas_kernels(),
            .threads = at::get_num_threads(),
            .torch_version = TORCH_VERSION,
            .mpi_version = mpi_version(),
            .hdf5_version = hdf5_version()};
}

coordinator::Hello hello_of(const Runtime& runtime, const Group& world) {
    return {.rank = world.rank(),
            .world_size = world.size(),
            .host = runtime.host,
            .pid = runtime.pid,
            .kiban_version = coordinator::version(),
            .torch_version = runtime.torch_version,
            .mpi_version = runtime.mpi_version,
            .hdf5_version = runtime.hdf5_version,
            .kernels = runtime.kernels,
            .threads = runtime.threads};
}

std::uint64_t resident_bytes() {
    std::ifstream statm("/proc/self/statm");
    std::uint64_t total_pages = 0;
    std::uint64_t resident_pages = 0;
    statm >> total_pages >> resident_pages;
    return resident_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace kiban::worker
