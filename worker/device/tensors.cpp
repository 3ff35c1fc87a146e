// SPDX-License-Identifier: Apache-2.0
#include "worker/device/tensors.h"

#include <ATen/ATen.h>

namespace kiban::worker {

at::TensorOptions float_options() { return at::TensorOptions(at::kFloat).device(torch_device()); }

at::Tensor view(const float* data, at::IntArrayRef sizes) {
    return at::for_blob(const_cast<float*>(data), sizes)
        .options(float_options())
        .target_device(torch_device())
        .make_tensor();
}

at::Tensor view(const float* data, at::IntArrayRef sizes, at::IntArrayRef strides) {
    return at::for_blob(const_cast<float*>(data), sizes)
        .strides(strides)
        .options(float_options())
        .target_device(torch_device())
        .make_tensor();
}

at::Tensor on_device(std::span<const std::int64_t> numbers) {
    const at::Tensor host = at::from_blob(const_cast<std::int64_t*>(numbers.data()),
                                          {static_cast<std::int64_t>(numbers.size())}, at::kLong);
    return host.to(torch_device(), at::kLong, /*non_blocking=*/false, /*copy=*/true);
}

void to_host(const at::Tensor& numbers, std::span<double> host) {
    at::from_blob(host.data(), {static_cast<std::int64_t>(host.size())}, at::kDouble).copy_(numbers.reshape(-1));
}

void accumulate(Accumulator sums, const at::Tensor& term) {
    if (sums.sums == nullptr) return;
    at::Tensor place = view(sums.sums, term.sizes());
    if (sums.beta == 0.0F) {
        place.copy_(term);
        return;
    }
    if (sums.beta != 1.0F) place.mul_(sums.beta);
    place.add_(term);
}

}  // namespace kiban::worker
