// SPDX-License-Identifier: Apache-2.0
#include "worker/model/parameters.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdlib>
#include <unordered_map>
#include <utility>

#include "monitoring/error.h"
#include "worker/device/memory.h"
#include "worker/device/tensors.h"
#include "worker/model/initial_values.h"
#include "worker/model/parameter_view.h"

namespace kiban::worker {

using coordinator::Bucket;
using coordinator::Init;
using coordinator::Layout;
using coordinator::TensorSpec;

namespace {

constexpr std::size_t kAlignment = 64;

using RoundedValues = std::unique_ptr<Bf16, FreeMemory>;

// Of the host: kernels in bf16 run there alone.
RoundedValues rounded_buffer(std::int64_t elements) {
    const std::size_t bytes =
        (static_cast<std::size_t>(elements) * sizeof(Bf16) + kAlignment) / kAlignment * kAlignment;
    RoundedValues memory(static_cast<Bf16*>(std::aligned_alloc(kAlignment, bytes)));
    KIBAN_CHECK(memory != nullptr, "allocate {} bytes for rounded parameters: out of memory", bytes);
    return memory;
}

// The part of a tensor that is here, as runs that are contiguous in the whole tensor.
void fill_part(const ParameterEntry& entry, std::uint64_t seed, float* values) {
    const TensorSpec& spec = entry.spec;
    if (spec.init != Init::normal) {
        fill_floats(values, entry.elements(), spec.init == Init::ones ? 1.0F : 0.0F);
        return;
    }
    fill_through_host(entry.elements(), values, [&](float* host) {
        checkpoint::for_each_run(entry.box, entry.box, checkpoint::whole(spec.shape),
                                 [&](std::int64_t here, std::int64_t in_whole, std::int64_t count) {
                                     fill_normal(seed, spec.name, spec.deviation, in_whole, count, host + here);
                                 });
    });
}

}  // namespace

// The values of a bucket in bf16, made when a product first needs them.
struct RoundedBucket {
    RoundedValues values;
    bool current = false;
};

struct Parameters::Impl {
    Layout layout;
    Held held;
    std::unordered_map<std::string, std::size_t> index;
    FlatBuffer values;
    FlatBuffer gradients;
    std::vector<float*> bucket_values;
    std::vector<float*> bucket_gradients;
    Precision precision = Precision::fp32;
    std::vector<RoundedBucket> rounded;
    std::vector<char> accumulated;  // per entry: something was added to where its gradients stand now
    std::function<void(int)> attach_missing;

    const std::vector<ParameterEntry>& entries() const { return layout.tensors; }
    const Bucket& bucket(int number) const { return layout.buckets.at(static_cast<std::size_t>(number)); }
    float*& values_at(int number) { return bucket_values.at(static_cast<std::size_t>(number)); }
    float*& gradients_at(int number) { return bucket_gradients.at(static_cast<std::size_t>(number)); }

    float* values_of(std::size_t entry) const {
        const ParameterEntry& tensor = entries()[entry];
        float* base = bucket_values[static_cast<std::size_t>(tensor.bucket)];
        KIBAN_CHECK(base != nullptr, "use '{}': the values of bucket '{}' are not here", tensor.spec.name,
                    bucket(tensor.bucket).name);
        return base + (tensor.offset - bucket(tensor.bucket).offset);
    }

    const Bf16* rounded_of(std::size_t entry) {
        const ParameterEntry& tensor = entries()[entry];
        const Bucket& whole = bucket(tensor.bucket);
        const float* wide = values_of(entry) - (tensor.offset - whole.offset);
        RoundedBucket& copy = rounded[static_cast<std::size_t>(tensor.bucket)];
        if (copy.values == nullptr) copy.values = rounded_buffer(whole.padded);
        if (!copy.current) round_all(whole.elements, wide, copy.values.get());
        copy.current = true;
        return copy.values.get() + (tensor.offset - whole.offset);
    }

    float* gradients_of(std::size_t entry) {
        const ParameterEntry& tensor = entries()[entry];
        if (gradients_at(tensor.bucket) == nullptr && attach_missing) attach_missing(tensor.bucket);
        float* base = gradients_at(tensor.bucket);
        KIBAN_CHECK(base != nullptr, "add to the gradient of '{}': bucket '{}' has no memory for it", tensor.spec.name,
                    bucket(tensor.bucket).name);
        return base + (tensor.offset - bucket(tensor.bucket).offset);
    }

    void zero_untouched(std::size_t first, std::size_t last) {
        for (std::size_t i = first; i <= last; ++i) {
            if (accumulated[i] != 0) continue;
            fill_floats(gradients_of(i), entries()[i].elements(), 0.0F);
            accumulated[i] = 1;
        }
    }

    void mark(int number, char state) {
        const auto begin = accumulated.begin();
        std::fill(begin + static_cast<std::ptrdiff_t>(bucket(number).first),
                  begin + static_cast<std::ptrdiff_t>(bucket(number).last) + 1, state);
    }
};

Parameters::Parameters(const std::vector<TensorSpec>& specs, Precision precision)
    : Parameters(coordinator::layout_of(specs, 1), {}, precision) {}

Parameters::Parameters(Layout layout, Held held, Precision precision) : impl_(std::make_unique<Impl>()) {
    for (std::size_t i = 0; i < layout.tensors.size(); ++i) {
        const bool added = impl_->index.emplace(layout.tensors[i].spec.name, i).second;
        KIBAN_CHECK(added, "lay out the parameters: two tensors are called '{}'", layout.tensors[i].spec.name);
    }
    KIBAN_CHECK(precision == Precision::fp32 || !aten_kernels(), "multiply in bf16 with {}: they are of fp32 alone",
                device().text());
    impl_->layout = std::move(layout);
    impl_->held = held;
    impl_->precision = precision;
    impl_->rounded.resize(impl_->layout.buckets.size());
    if (held.values) impl_->values = zeroed_buffer(impl_->layout.padded);
    if (held.gradients) impl_->gradients = zeroed_buffer(impl_->layout.padded);
    for (const Bucket& bucket : impl_->layout.buckets) {
        impl_->bucket_values.push_back(held.values ? impl_->values.get() + bucket.offset : nullptr);
        impl_->bucket_gradients.push_back(held.gradients ? impl_->gradients.get() + bucket.offset : nullptr);
    }
    impl_->accumulated.assign(impl_->entries().size(), 1);
}

Parameters::~Parameters() = default;

void Parameters::initialise(std::uint64_t seed) {
    for (std::size_t bucket = 0; bucket < impl_->layout.buckets.size(); ++bucket) {
        if (impl_->bucket_values[bucket] != nullptr) initialise_bucket(static_cast<int>(bucket), seed);
    }
}

void Parameters::initialise_bucket(int bucket, std::uint64_t seed) {
    const Bucket& here = impl_->bucket(bucket);
    impl_->rounded[static_cast<std::size_t>(bucket)].current = false;
    for (std::size_t i = here.first; i <= here.last; ++i) fill_part(impl_->entries()[i], seed, impl_->values_of(i));
}

const Layout& Parameters::layout() const { return impl_->layout; }
Precision Parameters::precision() const { return impl_->precision; }
Held Parameters::held() const { return impl_->held; }
const std::vector<ParameterEntry>& Parameters::entries() const { return impl_->entries(); }
std::int64_t Parameters::elements() const { return impl_->layout.elements; }

std::size_t Parameters::index(const std::string& name) const {
    const auto found = impl_->index.find(name);
    KIBAN_CHECK(found != impl_->index.end(), "look up parameter '{}': this model has no such tensor among its {}", name,
                impl_->entries().size());
    return found->second;
}

const ParameterEntry& Parameters::entry(const std::string& name) const { return impl_->entries()[index(name)]; }

float* Parameters::values() {
    KIBAN_CHECK(impl_->held.values, "use all parameters as one: their buckets are gathered when they are needed");
    values_changed();
    return impl_->values.get();
}

float* Parameters::gradients() {
    KIBAN_CHECK(impl_->held.gradients, "use all gradients as one: their buckets are reduced as they come");
    if (!impl_->entries().empty()) impl_->zero_untouched(0, impl_->entries().size() - 1);
    return impl_->gradients.get();
}

float* Parameters::held_gradients() {
    KIBAN_CHECK(impl_->held.gradients, "use all gradients as one: their buckets are reduced as they come");
    return impl_->gradients.get();
}

void Parameters::zero_gradients() { std::fill(impl_->accumulated.begin(), impl_->accumulated.end(), char{0}); }

float* Parameters::bucket_values(int bucket) const { return impl_->values_at(bucket); }

void Parameters::attach_values(int bucket, float* memory) {
    impl_->values_at(bucket) = memory;
    RoundedBucket& copy = impl_->rounded[static_cast<std::size_t>(bucket)];
    copy.current = false;
    if (memory == nullptr) copy.values.reset();
}

void Parameters::values_changed() {
    for (RoundedBucket& copy : impl_->rounded) copy.current = false;
}

float* Parameters::bucket_gradients(int bucket) {
    if (impl_->gradients_at(bucket) == nullptr) return nullptr;
    impl_->zero_untouched(impl_->bucket(bucket).first, impl_->bucket(bucket).last);
    return impl_->gradients_at(bucket);
}

void Parameters::attach_gradients(int bucket, float* memory) {
    impl_->gradients_at(bucket) = memory;
    impl_->mark(bucket, 0);
}

void Parameters::detach_gradients(int bucket) {
    impl_->gradients_at(bucket) =
        impl_->held.gradients ? impl_->gradients.get() + impl_->bucket(bucket).offset : nullptr;
    impl_->mark(bucket, 1);
}

void Parameters::on_missing_gradients(std::function<void(int)> attach) { impl_->attach_missing = std::move(attach); }

std::vector<std::int64_t> Parameters::span_shape(std::size_t first, std::size_t last) const {
    std::vector<std::int64_t> shape = impl_->entries()[first].box.extent;
    for (std::size_t i = first + 1; i <= last; ++i) {
        const ParameterEntry& entry = impl_->entries()[i];
        const std::vector<std::int64_t>& next = entry.box.extent;
        KIBAN_CHECK(next.size() == shape.size() && std::equal(next.begin() + 1, next.end(), shape.begin() + 1) &&
                        entry.bucket == impl_->entries()[first].bucket,
                    "view '{}' .. '{}' as one tensor: '{}' has other dimensions", impl_->entries()[first].spec.name,
                    impl_->entries()[last].spec.name, entry.spec.name);
        shape[0] += next[0];
    }
    return shape;
}

float* Parameters::values_of(std::size_t first) const { return impl_->values_of(first); }

const Bf16* Parameters::rounded_values_of(std::size_t first) { return impl_->rounded_of(first); }

Accumulator Parameters::claim_gradient(std::size_t first, std::size_t last) {
    float* sums = impl_->gradients_of(first);  // may attach memory that holds nothing yet
    const auto begin = impl_->accumulated.begin() + static_cast<std::ptrdiff_t>(first);
    const auto end = impl_->accumulated.begin() + static_cast<std::ptrdiff_t>(last) + 1;
    const bool fresh = *begin == 0;
    KIBAN_CHECK(std::all_of(begin, end, [&](char flag) { return (flag == 0) == fresh; }),
                "add to the gradients '{}' .. '{}' as one: only some of them hold a sum",
                impl_->entries()[first].spec.name, impl_->entries()[last].spec.name);
    std::fill(begin, end, char{1});
    return {sums, fresh ? 0.0F : 1.0F};
}

at::Tensor Parameters::value(const std::string& name) const { return value_span(name, name); }

at::Tensor Parameters::gradient(const std::string& name) const { return gradient_span(name, name); }

at::Tensor Parameters::value_span(const std::string& first, const std::string& last) const {
    const std::size_t begin = index(first);
    return view(impl_->values_of(begin), span_shape(begin, index(last)));
}

at::Tensor Parameters::gradient_span(const std::string& first, const std::string& last) const {
    const std::size_t begin = index(first);
    const std::size_t end = index(last);
    impl_->zero_untouched(begin, end);
    return view(impl_->gradients_of(begin), span_shape(begin, end));
}

ParameterView::ParameterView(Parameters& parameters, const std::string& first, const std::string& last)
    : leaf_(at::empty({0}, at::kFloat).requires_grad_()),
      parameters_(&parameters),
      first_(parameters.index(first)),
      last_(parameters.index(last)),
      shape_(parameters.span_shape(first_, last_)) {}

const float* ParameterView::data() const { return defined() ? parameters_->values_of(first_) : nullptr; }

Precision ParameterView::precision() const { return parameters_->precision(); }

const Bf16* ParameterView::rounded_data() const { return parameters_->rounded_values_of(first_); }

Accumulator ParameterView::accumulator() const {
    if (!defined() || !leaf_.requires_grad()) return {};
    return parameters_->claim_gradient(first_, last_);
}

}  // namespace kiban::worker
