// SPDX-License-Identifier: Apache-2.0
#include "worker/device/device.h"

#include <ATen/Context.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/version.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include "monitoring/error.h"
#include "worker/device/tensors.h"
#include "worker/torch_compat.h"

namespace kiban::worker {

namespace detail {
Device chosen;
}

namespace {

int cuda_devices() { return at::globalContext().hasCUDA() ? static_cast<int>(at::getNumGPUs()) : 0; }

std::string cuda_found() {
    if (!at::globalContext().hasCUDART()) return fmt::format("LibTorch {}, built without CUDA", TORCH_VERSION);
    const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
    return fmt::format("LibTorch {}, built with CUDA, which sees no device{}", TORCH_VERSION,
                       visible == nullptr ? std::string() : fmt::format(" (CUDA_VISIBLE_DEVICES='{}')", visible));
}

// A resume is exact only if a step gives the same bits each time; and fp32 means fp32.
void compute_exactly() {
    constexpr const char* kName = "CUBLAS_WORKSPACE_CONFIG";  // cuBLAS reads it when it starts
    constexpr std::array<std::string_view, 2> kDeterministic = {":4096:8", ":16:8"};
    const char* set = std::getenv(kName);
    if (set != nullptr && std::ranges::find(kDeterministic, set) == kDeterministic.end())
        throw ConfigError("{}: expected {}, with which cuBLAS is deterministic, found '{}'; take it away", kName,
                          fmt::join(kDeterministic, " or "), set);
    ::setenv(kName, kDeterministic[0].data(), 0);
    at::globalContext().setDeterministicAlgorithms(true, false);
    at::globalContext().setAllowTF32CuBLAS(false);
    leave_new_tensors_unfilled();
}

}  // namespace

std::string Device::text() const {
    const char* kernels = aten_kernels ? "ATen" : "native";
    if (kind == DeviceKind::cpu) return fmt::format("{} kernels on the CPU", kernels);
    return fmt::format("{} kernels on {}", kernels, kind == DeviceKind::cuda ? "cuda" : "privateuseone");
}

Device device_of(std::string_view device, std::string_view kernels, int local_rank) {
    const bool on_cpu = device == "cpu";
    if (!on_cpu && device != "cuda") throw ConfigError("train.device: expected 'cpu' or 'cuda', found '{}'", device);
    if (kernels != "auto" && kernels != "native" && kernels != "aten")
        throw ConfigError("train.kernels: expected 'auto', 'native' or 'aten', found '{}'", kernels);
    if (on_cpu) return {.kind = DeviceKind::cpu, .index = 0, .aten_kernels = kernels == "aten"};
    if (kernels == "native")
        throw ConfigError(
            "train.kernels = 'native' with train.device = 'cuda': native kernels run on the CPU; expected 'auto' or "
            "'aten'");
    const int devices = cuda_devices();
    if (devices == 0)
        throw ConfigError(
            "train.device = 'cuda': expected a CUDA device, found {}; build Kiban with a LibTorch that has CUDA and "
            "run it where there is a device, or set train.device = 'cpu'",
            cuda_found());
    return {.kind = DeviceKind::cuda, .index = local_rank % devices, .aten_kernels = true};
}

void use_device(const Device& device) {
    KIBAN_CHECK(device.kind == DeviceKind::cpu || device.aten_kernels, "run native kernels on {}", device.text());
    detail::chosen = device;
    if (device.kind == DeviceKind::cpu) return;
    if (device.kind == DeviceKind::cuda) compute_exactly();
    c10::impl::getDeviceGuardImpl(torch_device().type())->setDevice(torch_device());
}

const Device& device() { return detail::chosen; }

c10::Device torch_device() {
    const auto index = static_cast<c10::DeviceIndex>(detail::chosen.index);
    switch (detail::chosen.kind) {
        case DeviceKind::cuda: return {c10::DeviceType::CUDA, index};
        case DeviceKind::registered: return {c10::DeviceType::PrivateUse1, index};
        case DeviceKind::cpu: break;
    }
    return c10::DeviceType::CPU;
}

}  // namespace kiban::worker
