// SPDX-License-Identifier: Apache-2.0
// The one place for the environment of a worker: OpenMP, BLAS kernels, allocator, Open MPI. Set before the worker
// starts, because OpenBLAS, OpenMP and malloc read it while they are loaded.
//
// Pure functions of their arguments, except cpu_of_this_machine(). What the run file determines is always set; the rest
// is advice, and what the user has set in the environment stays.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace kiban::coordinator {

struct Cpu {
    std::string vendor;  // as CPUID spells it: GenuineIntel, AuthenticAMD
    int family = 0;      // with the extended family added
    int model = 0;       // with the extended model
    bool avx = false;    // usable: the operating system saves the registers
    bool avx2 = false;
    bool avx512 = false;  // F and VL
};
Cpu cpu_of_this_machine();

/// What OPENBLAS_CORETYPE must say because OpenBLAS 0.3.21 (Debian 12) chooses kernels without AVX by itself; nullopt
/// where its choice is good.
///
/// In driver/others/dynamic.c its switch over Intel family 6 ends at extended model 10 and falls through to the Pentium
/// 4's case: Emerald Rapids (model 207) gets 'Prescott', a fifth of the speed. Unknown AMD families reach a choice by
/// features, which is right.
std::optional<std::string> openblas_core_type(const Cpu& cpu);

using Environment = std::map<std::string, std::string>;

/// For the launcher process (mpirun, srun) and, by inheritance, what it starts. `one_machine`: keep Open MPI on
/// loopback.
Environment launcher_environment(bool one_machine);

/// Whether a launch.control_interface is one that no other machine reaches.
bool is_loopback(const std::string& interface);

/// For a worker, decided on its own node. Leaves out what `current` has already, except OMP_NUM_THREADS.
Environment worker_environment(const Cpu& cpu, int threads, const Environment& current);

/// Of this process.
Environment current_environment();

/// The Slurm job that this environment is part of, as scontrol and squeue name it; empty outside of one. JOB_TASK in an
/// array: there SLURM_JOB_ID of one task is that of the whole array.
std::string slurm_job(const Environment& environment);

/// Where a shell with this PATH would find the program.
std::optional<std::filesystem::path> find_program(const std::string& name, const Environment& environment);

}  // namespace kiban::coordinator
