// SPDX-License-Identifier: Apache-2.0
// All parameters of a model in one flat fp32 buffer and all gradients in a second one; named tensors are views into
// them.
//
// The flat order is the inventory's, so [q;k;v] of a layer is one matrix without a copy, a ZeRO part is one range, and
// a reduction is one call. Initial values are counter-based: a function of (seed, tensor name, flat index in the
// tensor) alone, never of rank or layout. Not thread-safe while training.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/job/inventory.h"
#include "worker/kernels/accumulator.h"

namespace at {
class Tensor;
}

namespace kiban::worker {

struct ParameterEntry {
    coordinator::TensorSpec spec;
    std::int64_t offset = 0;  // first element in the flat buffers
};

class Parameters {
  public:
    explicit Parameters(std::vector<coordinator::TensorSpec> specs);
    ~Parameters();
    Parameters(const Parameters&) = delete;
    Parameters& operator=(const Parameters&) = delete;

    void initialise(std::uint64_t seed);

    const std::vector<ParameterEntry>& entries() const;
    const ParameterEntry& entry(const std::string& name) const;  // InternalError when there is none
    std::int64_t elements() const;
    float* values();  // flat, elements() floats, 64-byte aligned
    /// Flat, as values(). Ask again after zero_gradients(): what no pass has added to since is set to zero here.
    float* gradients();
    /// Takes no pass over memory: the first accumulation into a tensor overwrites what stood there.
    void zero_gradients();

    at::Tensor value(const std::string& name) const;  // view with the tensor's shape
    at::Tensor gradient(const std::string& name) const;
    /// One view over neighbours `first` .. `last` in the flat buffer, stacked along dimension 0.
    at::Tensor value_span(const std::string& first, const std::string& last) const;
    at::Tensor gradient_span(const std::string& first, const std::string& last) const;

    std::size_t index(const std::string& name) const;  // into entries()
    /// Where to add to the gradients of entries first .. last: with beta 0 when nothing was added since
    /// zero_gradients(), else 1.
    Accumulator claim_gradient(std::size_t first, std::size_t last);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace kiban::worker
