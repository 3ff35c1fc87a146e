// SPDX-License-Identifier: Apache-2.0
// Memory of the device, and what moves or changes it without being a kernel. On the CPU with native kernels these are
// plain loops; otherwise LibTorch's operations. Counts are of floats; ranges must not overlap unless they are the same.
//
// On a device, everything is queued in the order of the calls (LibTorch's default stream, whichever thread calls);
// to_host and from_host return when the copy is done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "checkpoint/box.h"
#include "worker/device/device.h"
#include "worker/model/flat_buffer.h"

namespace kiban::worker {

void copy_floats(const float* from, std::int64_t count, float* to);
void fill_floats(float* to, std::int64_t count, float value);
/// sums += terms.
void add_floats(const float* terms, std::int64_t count, float* sums);
/// y[row] += bias, for rows of `width`.
void add_to_rows(std::int64_t rows, std::int64_t width, const float* bias, float* y);
/// As checkpoint::copy_box, between two places of the device.
void copy_box(const checkpoint::Box& part, const checkpoint::Box& source, const float* from,
              const checkpoint::Box& target, float* to);

void to_host(const float* from, std::int64_t count, float* host);
void from_host(const float* host, std::int64_t count, float* to);
/// A copy on the host.
std::vector<float> to_host(std::span<const float> values);

/// Memory of the host that the device copies to and from fast: page-locked where that means something.
std::shared_ptr<float> transfer_buffer(std::size_t count);

/// An array of the device that owns its memory.
class DeviceFloats {
  public:
    DeviceFloats() = default;
    /// Zeros.
    explicit DeviceFloats(std::int64_t count) : memory_(zeroed_buffer(count)), size_(count) {}

    float* data() { return memory_.get(); }
    const float* data() const { return memory_.get(); }
    std::int64_t size() const { return size_; }
    std::span<float> span() { return {data(), static_cast<std::size_t>(size_)}; }
    std::span<const float> span() const { return {data(), static_cast<std::size_t>(size_)}; }
    /// At least `count`; what stood there is lost when it grows.
    void grow(std::int64_t count) {
        if (size_ < count) *this = DeviceFloats(count);
    }

  private:
    FlatBuffer memory_;
    std::int64_t size_ = 0;
};

/// Device memory as the host reads it: itself where the host may, otherwise copies that live as long as this object.
class HostCopies {
  public:
    const float* of(const float* values, std::int64_t count);
    void clear() { copies_.clear(); }

  private:
    std::vector<std::vector<float>> copies_;
};

/// Calls fill(host), which writes `count` floats, and sees that they come to `to` on the device.
template <typename Fill>
void fill_through_host(std::int64_t count, float* to, const Fill& fill) {
    if (tensors_on_host()) {
        fill(to);
        return;
    }
    std::vector<float> host(static_cast<std::size_t>(count));
    fill(host.data());
    from_host(host.data(), count, to);
}

}  // namespace kiban::worker
