// SPDX-License-Identifier: Apache-2.0
// Where this process keeps its tensors and what computes on them: one choice for the whole process, made before the
// first tensor.
//
// Kernels come in two implementations of one contract (worker/kernels/*.h): native loops on the host's memory, and
// LibTorch's operations (worker/kernels/aten), which run wherever LibTorch does. The choice is read everywhere and
// written by use_device alone, while no tensor lives and no other thread computes.
#pragma once

#include <string>
#include <string_view>

namespace kiban::worker {

enum class DeviceKind {
    cpu,
    cuda,
    registered,  // LibTorch's PrivateUse1: a device that the program itself has registered with LibTorch
};

struct Device {
    DeviceKind kind = DeviceKind::cpu;
    int index = 0;              // among the devices of its kind
    bool aten_kernels = false;  // native kernels need the host's memory

    std::string text() const;  // "native kernels on the CPU", "ATen kernels on cuda"; a rank, not a run, has an index
};

/// What the run file's train.device ("cpu", "cuda") and train.kernels ("auto": native on the CPU, "native", "aten") ask
/// for, for the `local_rank`-th worker of its machine: CUDA devices are dealt out in turn. ConfigError when there is no
/// CUDA device, saying what was found, or when native kernels are to run on one.
Device device_of(std::string_view device, std::string_view kernels, int local_rank);

/// Makes it the device of this process. On CUDA, LibTorch is told to compute deterministically and in full precision.
void use_device(const Device& device);
const Device& device();

namespace detail {
extern Device chosen;
}
/// Whether the kernels of this process are LibTorch's.
inline bool aten_kernels() { return detail::chosen.aten_kernels; }
/// Whether the host may read and write the memory of tensors.
inline bool tensors_on_host() { return detail::chosen.kind == DeviceKind::cpu; }

}  // namespace kiban::worker
