// SPDX-License-Identifier: Apache-2.0
// The parameters of a model on this worker, laid out flat (coordinator/job/layout.h): values in one fp32 buffer,
// gradients in a second one; named tensors are views into them.
//
// The flat order is the layout's, so [q;k;v] of a layer is one matrix without a copy and a bucket is one range. Either
// buffer may be left out: its buckets are then attached when they are needed (ZeRO stages 2 and 3). Initial values are
// counter-based: a function of (seed, tensor name, flat index in the whole tensor) alone, never of rank or layout. Not
// thread-safe while training.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/job/layout.h"
#include "worker/kernels/accumulator.h"
#include "worker/kernels/bf16.h"
#include "worker/model/precision.h"

namespace at {
class Tensor;
}

namespace kiban::worker {

using ParameterEntry = coordinator::LocalTensor;

struct Held {  // which flat buffers live as long as the parameters
    bool values = true;
    bool gradients = true;
};

class Parameters {
  public:
    /// Whole tensors, on one worker.
    explicit Parameters(const std::vector<coordinator::TensorSpec>& specs, Precision precision = Precision::fp32);
    explicit Parameters(coordinator::Layout layout, Held held = {}, Precision precision = Precision::fp32);
    ~Parameters();
    Parameters(const Parameters&) = delete;
    Parameters& operator=(const Parameters&) = delete;

    /// Of every bucket whose values are here.
    void initialise(std::uint64_t seed);
    void initialise_bucket(int bucket, std::uint64_t seed);

    const coordinator::Layout& layout() const;
    Held held() const;
    const std::vector<ParameterEntry>& entries() const;
    const ParameterEntry& entry(const std::string& name) const;  // InternalError when there is none
    std::int64_t elements() const;                               // without padding
    Precision precision() const;
    float* values();  // flat, layout().padded floats, 64-byte aligned; InternalError when they are not held
    /// Flat, as values(). Ask again after zero_gradients(): what no pass has added to since is set to zero here.
    float* gradients();
    /// The same memory as it stands: also while other memory is attached.
    float* held_gradients();
    /// Takes no pass over memory: the first accumulation into a tensor overwrites what stood there.
    void zero_gradients();

    /// padded floats of a bucket; null when they are not here. The memory stays the caller's.
    float* bucket_values(int bucket) const;
    void attach_values(int bucket, float* memory);
    /// To be told after writing to values, other than through values(), initialise() and attach_values(): what was
    /// rounded of them is rounded anew.
    void values_changed();
    /// As gradients(), of one bucket; null when they are not here.
    float* bucket_gradients(int bucket);
    /// What stands in `memory` counts as nothing: the first accumulation overwrites it.
    void attach_gradients(int bucket, float* memory);
    /// Back to the held gradients, with what they hold; null when they are not held.
    void detach_gradients(int bucket);
    /// Called when a gradient is to be added to a bucket that has no memory: it must attach some.
    void on_missing_gradients(std::function<void(int bucket)> attach);

    at::Tensor value(const std::string& name) const;  // view with the shape of what is here
    at::Tensor gradient(const std::string& name) const;
    /// One view over neighbours `first` .. `last` in the flat buffer, stacked along dimension 0.
    at::Tensor value_span(const std::string& first, const std::string& last) const;
    at::Tensor gradient_span(const std::string& first, const std::string& last) const;

    std::size_t index(const std::string& name) const;  // into entries()
    /// The shape of entries first .. last as one tensor.
    std::vector<std::int64_t> span_shape(std::size_t first, std::size_t last) const;
    /// Where entry `first` stands now. InternalError when its bucket is not here.
    float* values_of(std::size_t first) const;
    /// The same in bf16. A bucket is rounded as a whole when it is first asked for; the copy lives as long as its
    /// values are here.
    const Bf16* rounded_values_of(std::size_t first);
    /// Where to add to the gradients of entries first .. last: with beta 0 when nothing was added since
    /// zero_gradients(), else 1.
    Accumulator claim_gradient(std::size_t first, std::size_t last);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace kiban::worker
