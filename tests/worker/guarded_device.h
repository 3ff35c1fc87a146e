// SPDX-License-Identifier: Apache-2.0
// A device without hardware, for LibTorch's dispatcher as real as a GPU: to run the code of GPUs where there is none.
//
// Its memory lies in pages that nobody may touch but its own operations while they run, which LibTorch's CPU kernels
// carry out: host code that reads or writes it dies at once. As on a GPU, operations refuse tensors of the host among
// their arguments, new memory holds no zeros (it holds NaN), and backward passes run in a thread of LibTorch's.
#pragma once

#include <cstdint>

#include "worker/device/device.h"

namespace kiban::worker {

/// What it is for use_device. A program that has this source has registered it.
Device guarded_device();

/// Operations that the device has run so far.
std::uint64_t guarded_operations();
/// Bytes of its memory that are taken.
std::uint64_t guarded_bytes();

}  // namespace kiban::worker
