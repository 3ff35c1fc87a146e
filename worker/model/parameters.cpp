// SPDX-License-Identifier: Apache-2.0
#include "worker/model/parameters.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "monitoring/error.h"
#include "worker/model/initial_values.h"
#include "worker/model/parameter_view.h"

namespace kiban::worker {

using coordinator::Init;
using coordinator::TensorSpec;

namespace {

constexpr std::size_t kAlignment = 64;

struct FreeMemory {
    void operator()(float* memory) const { std::free(memory); }
};
using Buffer = std::unique_ptr<float, FreeMemory>;

Buffer zeroed_buffer(std::int64_t elements) {
    const std::size_t bytes =
        (static_cast<std::size_t>(elements) * sizeof(float) + kAlignment) / kAlignment * kAlignment;
    Buffer buffer(static_cast<float*>(std::aligned_alloc(kAlignment, bytes)));
    KIBAN_CHECK(buffer != nullptr, "allocate {} bytes for {} parameters: out of memory", bytes, elements);
    std::memset(buffer.get(), 0, bytes);
    return buffer;
}

at::Tensor view_of(float* data, const std::vector<std::int64_t>& shape) {
    return at::from_blob(data, shape, at::kFloat);
}

}  // namespace

struct Parameters::Impl {
    std::vector<ParameterEntry> entries;
    std::unordered_map<std::string, std::size_t> index;
    std::int64_t elements = 0;
    Buffer values;
    Buffer gradients;
    std::vector<char> accumulated;  // per entry: something was added since zero_gradients()

    std::vector<std::int64_t> span_shape(std::size_t first, std::size_t last) const {
        std::vector<std::int64_t> shape = entries[first].spec.shape;
        for (std::size_t i = first + 1; i <= last; ++i) {
            const std::vector<std::int64_t>& next = entries[i].spec.shape;
            KIBAN_CHECK(next.size() == shape.size() && std::equal(next.begin() + 1, next.end(), shape.begin() + 1),
                        "view '{}' .. '{}' as one tensor: '{}' has other dimensions", entries[first].spec.name,
                        entries[last].spec.name, entries[i].spec.name);
            shape[0] += next[0];
        }
        return shape;
    }

    void zero_untouched(std::size_t first, std::size_t last) {
        for (std::size_t i = first; i <= last; ++i) {
            if (accumulated[i] != 0) continue;
            std::fill_n(gradients.get() + entries[i].offset, entries[i].spec.elements(), 0.0F);
            accumulated[i] = 1;
        }
    }
};

Parameters::Parameters(std::vector<TensorSpec> specs) : impl_(std::make_unique<Impl>()) {
    for (TensorSpec& spec : specs) {
        const bool added = impl_->index.emplace(spec.name, impl_->entries.size()).second;
        KIBAN_CHECK(added, "lay out the parameters: two tensors are called '{}'", spec.name);
        const std::int64_t offset = impl_->elements;
        impl_->elements += spec.elements();
        impl_->entries.push_back({std::move(spec), offset});
    }
    impl_->values = zeroed_buffer(impl_->elements);
    impl_->gradients = zeroed_buffer(impl_->elements);
    impl_->accumulated.assign(impl_->entries.size(), 1);
}

Parameters::~Parameters() = default;

void Parameters::initialise(std::uint64_t seed) {
    for (const ParameterEntry& entry : impl_->entries) {
        float* values = impl_->values.get() + entry.offset;
        const std::int64_t count = entry.spec.elements();
        if (entry.spec.init == Init::normal)
            fill_normal(seed, entry.spec.name, entry.spec.deviation, 0, count, values);
        else
            std::fill_n(values, count, entry.spec.init == Init::ones ? 1.0F : 0.0F);
    }
}

const std::vector<ParameterEntry>& Parameters::entries() const { return impl_->entries; }

std::size_t Parameters::index(const std::string& name) const {
    const auto found = impl_->index.find(name);
    KIBAN_CHECK(found != impl_->index.end(), "look up parameter '{}': this model has no such tensor among its {}", name,
                impl_->entries.size());
    return found->second;
}

const ParameterEntry& Parameters::entry(const std::string& name) const { return impl_->entries[index(name)]; }

std::int64_t Parameters::elements() const { return impl_->elements; }

float* Parameters::values() { return impl_->values.get(); }

float* Parameters::gradients() {
    if (!impl_->entries.empty()) impl_->zero_untouched(0, impl_->entries.size() - 1);
    return impl_->gradients.get();
}

void Parameters::zero_gradients() { std::fill(impl_->accumulated.begin(), impl_->accumulated.end(), char{0}); }

Accumulator Parameters::claim_gradient(std::size_t first, std::size_t last) {
    const auto begin = impl_->accumulated.begin() + static_cast<std::ptrdiff_t>(first);
    const auto end = impl_->accumulated.begin() + static_cast<std::ptrdiff_t>(last) + 1;
    const bool fresh = *begin == 0;
    KIBAN_CHECK(std::all_of(begin, end, [&](char flag) { return (flag == 0) == fresh; }),
                "add to the gradients '{}' .. '{}' as one: only some of them hold a sum",
                impl_->entries[first].spec.name, impl_->entries[last].spec.name);
    std::fill(begin, end, char{1});
    return {impl_->gradients.get() + impl_->entries[first].offset, fresh ? 0.0F : 1.0F};
}

at::Tensor Parameters::value(const std::string& name) const { return value_span(name, name); }

at::Tensor Parameters::gradient(const std::string& name) const { return gradient_span(name, name); }

at::Tensor Parameters::value_span(const std::string& first, const std::string& last) const {
    const std::size_t begin = index(first);
    return view_of(impl_->values.get() + impl_->entries[begin].offset, impl_->span_shape(begin, index(last)));
}

at::Tensor Parameters::gradient_span(const std::string& first, const std::string& last) const {
    const std::size_t begin = index(first);
    const std::size_t end = index(last);
    impl_->zero_untouched(begin, end);
    return view_of(impl_->gradients.get() + impl_->entries[begin].offset, impl_->span_shape(begin, end));
}

ParameterView::ParameterView(Parameters& parameters, const std::string& first, const std::string& last)
    : value_(parameters.value_span(first, last).requires_grad_()),
      parameters_(&parameters),
      first_(parameters.index(first)),
      last_(parameters.index(last)) {}

Accumulator ParameterView::accumulator() const {
    if (!defined() || !value_.requires_grad()) return {};
    return parameters_->claim_gradient(first_, last_);
}

}  // namespace kiban::worker
