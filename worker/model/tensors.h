// SPDX-License-Identifier: Apache-2.0
// Activations as the kernels read them: plain memory of fp32 or bf16 on the device. For the sources that define
// autograd functions; includes LibTorch.
#pragma once

#include <ATen/ATen.h>

#include <type_traits>
#include <utility>

#include "monitoring/error.h"
#include "worker/device/tensors.h"
#include "worker/kernels/bf16.h"

namespace kiban::worker {

template <typename Element>
constexpr at::ScalarType kTypeOf = std::is_same_v<Element, Bf16> ? at::kBFloat16 : at::kFloat;

template <typename Element = float>
at::Tensor empty(std::int64_t rows, std::int64_t columns) {
    return at::empty({rows, columns}, float_options().dtype(kTypeOf<Element>));
}

inline bool is_bf16(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16; }

/// The values of an activation, after checking that the kernels can read it.
template <typename Element>
const Element* values_of(const at::Tensor& x) {
    KIBAN_CHECK(x.device() == torch_device() && x.scalar_type() == kTypeOf<Element> && x.is_contiguous(),
                "run a kernel on a {} tensor of {} on {}: expected a contiguous {} tensor on {}",
                x.is_contiguous() ? "contiguous" : "strided", c10::toString(x.scalar_type()), x.device().str(),
                c10::toString(kTypeOf<Element>), torch_device().str());
    return static_cast<const Element*>(x.data_ptr());
}

template <typename Element>
Element* values_of(at::Tensor& x) {
    return const_cast<Element*>(values_of<Element>(std::as_const(x)));
}

inline const float* floats(const at::Tensor& x) { return values_of<float>(x); }
inline float* floats(at::Tensor& x) { return values_of<float>(x); }

/// call(element of x's type): for kernels that exist for both.
template <typename Call>
void with_element_of(const at::Tensor& x, Call call) {
    if (is_bf16(x))
        call(Bf16{});
    else
        call(float{});
}

/// x in bf16: itself, or rounded.
inline at::Tensor in_bf16(const at::Tensor& x) {
    if (is_bf16(x)) return x;
    at::Tensor y = at::empty(x.sizes(), x.options().dtype(at::kBFloat16));
    round_all(x.numel(), floats(x), values_of<Bf16>(y));
    return y;
}

}  // namespace kiban::worker
