// SPDX-License-Identifier: Apache-2.0
// Every difference between the LibTorch versions that Kiban accepts (1.13 to current 2.x). No other file asks for the
// version.
#pragma once

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <torch/version.h>

#if TORCH_VERSION_MAJOR < 1 || (TORCH_VERSION_MAJOR == 1 && TORCH_VERSION_MINOR < 13)
#error "Kiban needs LibTorch 1.13 or later"
#endif

#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 5)
#include <optional>
namespace kiban::worker {
/// An argument of an autograd function that may be absent.
using OptionalTensor = std::optional<at::Tensor>;
}  // namespace kiban::worker
#else
#include <c10/util/Optional.h>
namespace kiban::worker {
using OptionalTensor = c10::optional<at::Tensor>;  // not the standard type before LibTorch moved to it
}  // namespace kiban::worker
#endif

namespace kiban::worker {

/// Deterministic algorithms do not need every new tensor to be filled, as LibTorch 2.2 and later do by default.
inline void leave_new_tensors_unfilled() {
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 2)
    at::globalContext().setDeterministicFillUninitializedMemory(false);
#endif
}

}  // namespace kiban::worker
