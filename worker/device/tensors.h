// SPDX-License-Identifier: Apache-2.0
// The device as LibTorch sees it, and memory of it as tensors. For the sources that compute with LibTorch; includes
// LibTorch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "worker/kernels/accumulator.h"

namespace kiban::worker {

c10::Device torch_device();
/// For new tensors on the device.
at::TensorOptions float_options();

/// Contiguous floats of the device as a tensor, which lives no longer than they do. Kernels take inputs as const, and
/// do not write to them.
at::Tensor view(const float* data, at::IntArrayRef sizes);
/// The same, `strides` in floats.
at::Tensor view(const float* data, at::IntArrayRef sizes, at::IntArrayRef strides);

/// A copy on the device.
at::Tensor on_device(std::span<const std::int64_t> numbers);
/// A copy of a tensor of doubles, wherever it stands. Waits until they are computed.
void to_host(const at::Tensor& numbers, std::span<double> host);

/// sums = beta * sums + term; what stood there is not read when beta is 0. Nothing when the sums are null.
void accumulate(Accumulator sums, const at::Tensor& term);

}  // namespace kiban::worker
