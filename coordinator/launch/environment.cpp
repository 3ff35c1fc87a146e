// SPDX-License-Identifier: Apache-2.0
#include "coordinator/launch/environment.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <unistd.h>

#include <cstring>
#include <sstream>
#include <utility>

namespace kiban::coordinator {
namespace {

constexpr int kFirstModelTakenForPentium4 = 0xB0;

#if defined(__x86_64__)
unsigned long long enabled_register_sets() {
    unsigned low = 0;
    unsigned high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (static_cast<unsigned long long>(high) << 32) | low;
}
#endif

}  // namespace

Cpu cpu_of_this_machine() {
    Cpu cpu;
#if defined(__x86_64__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(0, &a, &b, &c, &d) == 0) return cpu;
    char vendor[13] = "";
    std::memcpy(vendor, &b, 4);
    std::memcpy(vendor + 4, &d, 4);
    std::memcpy(vendor + 8, &c, 4);
    cpu.vendor = vendor;
    __get_cpuid(1, &a, &b, &c, &d);
    const unsigned family = (a >> 8) & 0xF;
    cpu.family = static_cast<int>(family == 0xF ? family + ((a >> 20) & 0xFF) : family);
    cpu.model = static_cast<int>(((a >> 4) & 0xF) | ((a >> 12) & 0xF0));
    const bool saves_registers = (c & bit_OSXSAVE) != 0;
    const unsigned long long enabled = saves_registers ? enabled_register_sets() : 0;
    cpu.avx = (c & bit_AVX) != 0 && (enabled & 0x6) == 0x6;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) {
        cpu.avx2 = cpu.avx && (b & bit_AVX2) != 0;
        cpu.avx512 = cpu.avx && (enabled & 0xE0) == 0xE0 && (b & bit_AVX512F) != 0 && (b & bit_AVX512VL) != 0;
    }
#endif
    return cpu;
}

std::optional<std::string> openblas_core_type(const Cpu& cpu) {
    if (cpu.vendor != "GenuineIntel" || cpu.family != 6 || cpu.model < kFirstModelTakenForPentium4) return std::nullopt;
    if (cpu.avx512) return "SKYLAKEX";
    if (cpu.avx2) return "HASWELL";
    if (cpu.avx) return "SANDYBRIDGE";
    return std::nullopt;
}

Environment launcher_environment(bool one_machine) {
    if (!one_machine) return {};
    return {{"OMPI_MCA_btl_tcp_if_include", "lo"}, {"OMPI_MCA_oob_tcp_if_include", "lo"}};
}

bool is_loopback(const std::string& interface) { return interface == "lo" || interface.starts_with("127."); }

Environment worker_environment(const Cpu& cpu, int threads, const Environment& current) {
    Environment wanted = {
        // Waiting threads and ranks yield the core: on a shared machine spinning costs up to 600 times.
        {"OMP_WAIT_POLICY", "passive"},
        {"OMPI_MCA_mpi_yield_when_idle", "1"},
        // Copies through shared memory instead of cross-memory attach: no stalls under load, and allowed in containers.
        {"OMPI_MCA_btl_vader_single_copy_mechanism", "none"},
        // glibc keeps what LibTorch frees: each step allocates the same tensors again (12 to 21 % of a step).
        {"MALLOC_MMAP_MAX_", "0"},
        {"MALLOC_TRIM_THRESHOLD_", "100000000000"},
        {"MALLOC_TOP_PAD_", "268435456"},
    };
    if (const auto core = openblas_core_type(cpu)) wanted["OPENBLAS_CORETYPE"] = *core;
    for (const auto& [name, value] : current) wanted.erase(name);
    wanted["OMP_NUM_THREADS"] = std::to_string(threads);  // launch.threads_per_worker: part of the exactness level
    return wanted;
}

std::string slurm_job(const Environment& environment) {
    const auto value_of = [&](const char* name) {
        const auto found = environment.find(name);
        return found == environment.end() ? std::string() : found->second;
    };
    const std::string array = value_of("SLURM_ARRAY_JOB_ID");
    const std::string task = value_of("SLURM_ARRAY_TASK_ID");
    return array.empty() || task.empty() ? value_of("SLURM_JOB_ID") : array + "_" + task;
}

Environment current_environment() {
    Environment result;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const char* equals = std::strchr(*entry, '=');
        if (equals != nullptr) result[std::string(*entry, static_cast<std::size_t>(equals - *entry))] = equals + 1;
    }
    return result;
}

std::optional<std::filesystem::path> find_program(const std::string& name, const Environment& environment) {
    const auto path = environment.find("PATH");
    std::istringstream directories(path == environment.end() ? "/usr/local/bin:/usr/bin:/bin" : path->second);
    for (std::string directory; std::getline(directories, directory, ':');) {
        const auto file = std::filesystem::path(directory.empty() ? "." : directory) / name;
        if (::access(file.c_str(), X_OK) == 0 && !std::filesystem::is_directory(file)) return file;
    }
    return std::nullopt;
}

}  // namespace kiban::coordinator
