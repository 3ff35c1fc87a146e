// SPDX-License-Identifier: Apache-2.0
#include "worker/device/memory.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "monitoring/error.h"
#include "worker/device/tensors.h"

namespace kiban::worker {

namespace {

constexpr std::size_t kAlignment = 64;

at::Tensor host_view(const float* host, std::int64_t count) {
    return at::from_blob(const_cast<float*>(host), {count}, at::kFloat);
}

// The elements of `part` within memory that holds `whole`.
at::Tensor box_view(const checkpoint::Box& part, const checkpoint::Box& whole, const float* data) {
    at::Tensor box = view(data, whole.extent);
    for (std::size_t dim = 0; dim < part.offset.size(); ++dim)
        box = box.narrow(static_cast<std::int64_t>(dim), part.offset[dim] - whole.offset[dim], part.extent[dim]);
    return box;
}

}  // namespace

void FreeMemory::operator()(void* memory) {
    if (owner == nullptr) std::free(memory);
    owner.reset();
}

FlatBuffer zeroed_buffer(std::int64_t elements) {
    const std::size_t bytes =
        (static_cast<std::size_t>(elements) * sizeof(float) + kAlignment) / kAlignment * kAlignment;
    if (tensors_on_host()) {
        FlatBuffer buffer(static_cast<float*>(std::aligned_alloc(kAlignment, bytes)));
        KIBAN_CHECK(buffer != nullptr, "allocate {} bytes for {} parameters: out of memory", bytes, elements);
        std::memset(buffer.get(), 0, bytes);
        return buffer;
    }
    const auto owner = std::make_shared<at::Tensor>(at::zeros({elements}, float_options()));
    return {owner->data_ptr<float>(), {owner}};
}

void copy_floats(const float* from, std::int64_t count, float* to) {
    if (!aten_kernels()) {
        std::copy_n(from, count, to);
        return;
    }
    view(to, {count}).copy_(view(from, {count}));
}

void fill_floats(float* to, std::int64_t count, float value) {
    if (!aten_kernels()) {
        std::fill_n(to, count, value);
        return;
    }
    view(to, {count}).fill_(value);
}

void add_floats(const float* terms, std::int64_t count, float* sums) {
    if (aten_kernels()) {
        view(sums, {count}).add_(view(terms, {count}));
        return;
    }
#pragma omp parallel for simd schedule(static)
    for (std::int64_t i = 0; i < count; ++i) sums[i] += terms[i];
}

void add_to_rows(std::int64_t rows, std::int64_t width, const float* bias, float* y) {
    if (aten_kernels()) {
        view(y, {rows, width}).add_(view(bias, {width}));
        return;
    }
    for (std::int64_t row = 0; row < rows; ++row, y += width)
        for (std::int64_t i = 0; i < width; ++i) y[i] += bias[i];
}

void copy_box(const checkpoint::Box& part, const checkpoint::Box& source, const float* from,
              const checkpoint::Box& target, float* to) {
    if (!aten_kernels()) {
        checkpoint::copy_box(part, source, from, target, to, sizeof(float));
        return;
    }
    box_view(part, target, to).copy_(box_view(part, source, from));
}

void to_host(const float* from, std::int64_t count, float* host) { host_view(host, count).copy_(view(from, {count})); }

void from_host(const float* host, std::int64_t count, float* to) { view(to, {count}).copy_(host_view(host, count)); }

std::vector<float> to_host(std::span<const float> values) {
    std::vector<float> host(values.size());
    to_host(values.data(), static_cast<std::int64_t>(values.size()), host.data());
    return host;
}

std::shared_ptr<float> transfer_buffer(std::size_t count) {
    const auto options = at::TensorOptions(at::kFloat).pinned_memory(device().kind == DeviceKind::cuda);
    const auto owner = std::make_shared<at::Tensor>(at::empty({static_cast<std::int64_t>(count)}, options));
    return {owner, owner->data_ptr<float>()};
}

const float* HostCopies::of(const float* values, std::int64_t count) {
    if (tensors_on_host()) return values;
    return copies_.emplace_back(to_host({values, static_cast<std::size_t>(count)})).data();
}

}  // namespace kiban::worker
