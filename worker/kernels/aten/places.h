// SPDX-License-Identifier: Apache-2.0
// The places of neighbours in their rows. Internal to worker/kernels/aten; includes LibTorch.
#pragma once

#include <ATen/ATen.h>

#include "worker/device/tensors.h"

namespace kiban::worker::aten {

/// (first + i) modulo `tokens_per_row`, for i from 0 to count - 1.
inline at::Tensor places_of(std::int64_t first, std::int64_t count, std::int64_t tokens_per_row) {
    at::Tensor places = at::empty({count}, float_options().dtype(at::kLong));
    return at::arange_out(places, first, first + count, 1).remainder_(tokens_per_row);
}

}  // namespace kiban::worker::aten
