// SPDX-License-Identifier: Apache-2.0
#include "tests/worker/guarded_device.h"

#include <ATen/ATen.h>
#include <ATen/NativeFunctions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <sys/mman.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "monitoring/error.h"

namespace kiban::worker {
namespace {

using at::Tensor;
using c10::IValue;

constexpr c10::DeviceType kType = c10::DeviceType::PrivateUse1;
constexpr std::size_t kRegionBytes = std::size_t{64} << 20;
constexpr std::size_t kUnit = 64;  // alignment and granularity

// Memory that is closed but while somebody holds an Open.
class Region {
  public:
    static Region& get() {
        static Region& region = *new Region;  // outlives every tensor
        return region;
    }

    void* take(std::size_t bytes) {
        const std::lock_guard lock(mutex_);
        const std::size_t size = (bytes / kUnit + 1) * kUnit;
        taken_ += size;
        if (auto place = free_.find(size); place != free_.end()) {
            void* memory = place->second;
            free_.erase(place);
            return memory;
        }
        KIBAN_CHECK(end_ + size <= kRegionBytes, "take {} bytes of the guarded device: it has {}", size, kRegionBytes);
        void* memory = base_ + end_;
        sizes_[memory] = size;
        end_ += size;
        return memory;
    }

    void give_back(void* memory) {
        const std::lock_guard lock(mutex_);
        free_.emplace(sizes_.at(memory), memory);
        taken_ -= sizes_.at(memory);
    }

    void open(int change) {
        const std::lock_guard lock(mutex_);
        const bool was_open = opened_ > 0;
        opened_ += change;
        if (was_open == (opened_ > 0)) return;
        const int failed = ::mprotect(base_, kRegionBytes, opened_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE);
        KIBAN_CHECK(failed == 0, "mprotect of the guarded device: {}", std::strerror(errno));
    }

    std::size_t taken() {
        const std::lock_guard lock(mutex_);
        return taken_;
    }

  private:
    Region()
        : base_(static_cast<char*>(
              ::mmap(nullptr, kRegionBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
        KIBAN_CHECK(base_ != MAP_FAILED, "mmap of the guarded device: {}", std::strerror(errno));
    }

    std::mutex mutex_;
    char* base_;
    std::size_t end_ = 0;
    std::size_t taken_ = 0;
    int opened_ = 0;
    std::map<void*, std::size_t> sizes_;
    std::multimap<std::size_t, void*> free_;
};

struct Open {
    Open() { Region::get().open(1); }
    ~Open() { Region::get().open(-1); }
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;
};

std::atomic<std::uint64_t> operations{0};

bool is_here(const Tensor& tensor) { return tensor.defined() && tensor.device().type() == kType; }

Tensor new_tensor(at::IntArrayRef sizes, at::IntArrayRef strides, c10::ScalarType type) {
    std::int64_t last = 1;
    for (std::size_t dim = 0; dim < sizes.size(); ++dim) last += (sizes[dim] - 1) * strides[dim];
    const std::size_t bytes = static_cast<std::size_t>(std::max<std::int64_t>(last, 0)) * c10::elementSize(type);
    void* memory = Region::get().take(bytes);
    const Open open;
    std::memset(memory, 0xFF, bytes);  // NaN
    return at::for_blob(memory, sizes)
        .strides(strides)
        .deleter([](void* old) { Region::get().give_back(old); })
        .options(at::TensorOptions(type).device(kType, 0))
        .target_device(c10::Device(kType, 0))
        .make_tensor();
}

Tensor seen_by_host(const Tensor& tensor) {
    return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), at::TensorOptions(tensor.scalar_type()));
}

Tensor brought_here(const Tensor& host) {
    Tensor here = new_tensor(host.sizes(), host.strides(), host.scalar_type());
    seen_by_host(here).copy_(host);
    return here;
}

// As an argument of a CPU kernel. A GPU takes numbers from the host, but no arrays.
Tensor argument_of_host(const c10::OperatorHandle& op, const Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    if (is_here(tensor)) return seen_by_host(tensor);
    TORCH_CHECK(tensor.dim() == 0, "operation ", op.operator_name(), " on the guarded device: an argument is ",
                tensor.sizes(), " on ", tensor.device());
    return tensor;
}

IValue argument_of_host(const c10::OperatorHandle& op, const IValue& value) {
    if (value.isTensor()) return argument_of_host(op, value.toTensor());
    if (value.isTensorList()) {
        std::vector<Tensor> tensors;
        for (const Tensor& tensor : value.toTensorVector()) tensors.push_back(argument_of_host(op, tensor));
        return tensors;
    }
    TORCH_CHECK(!value.isOptionalTensorList(), "operation ", op.operator_name(),
                " on the guarded device: lists of optional tensors are not its");
    return value;
}

// What an operation returns that it has written to: the argument itself.
const IValue* written_argument(const c10::FunctionSchema& schema, const c10::AliasInfo& result,
                               const std::vector<IValue>& arguments) {
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const c10::AliasInfo* alias = schema.arguments()[i].alias_info();
        if (alias != nullptr && alias->beforeSets() == result.beforeSets()) return &arguments[i];
    }
    return nullptr;
}

IValue result_here(const c10::OperatorHandle& op, const c10::Argument& schema, const IValue& result,
                   const std::vector<IValue>& arguments) {
    if (!result.isTensor() || !result.toTensor().defined()) return result;
    const c10::AliasInfo* alias = schema.alias_info();
    if (alias == nullptr) return brought_here(result.toTensor());
    const IValue* written = written_argument(op.schema(), *alias, arguments);
    TORCH_CHECK(alias->isWrite() && written != nullptr, "operation ", op.operator_name(),
                " on the guarded device: views are not its");
    return *written;
}

void run_by_cpu_kernel(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
    const Open open;
    ++operations;
    const auto& schema = op.schema();
    const std::vector<IValue> arguments = torch::jit::last(*stack, schema.arguments().size()).vec();
    torch::jit::drop(*stack, arguments.size());
    for (const IValue& argument : arguments) stack->push_back(argument_of_host(op, argument));
    op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
    const std::vector<IValue> results = torch::jit::last(*stack, schema.returns().size()).vec();
    torch::jit::drop(*stack, results.size());
    for (std::size_t i = 0; i < results.size(); ++i)
        stack->push_back(result_here(op, schema.returns()[i], results[i], arguments));
}

Tensor empty(at::IntArrayRef sizes, c10::optional<c10::ScalarType> type, c10::optional<c10::Layout>,
             c10::optional<c10::Device>, c10::optional<bool>, c10::optional<c10::MemoryFormat>) {
    std::vector<std::int64_t> strides(sizes.size(), 1);
    for (std::size_t dim = sizes.size(); dim-- > 1;)
        strides[dim - 1] = strides[dim] * std::max<std::int64_t>(sizes[dim], 1);
    return new_tensor(sizes, strides, type.value_or(c10::ScalarType::Float));
}

Tensor empty_strided(at::IntArrayRef sizes, at::IntArrayRef strides, c10::optional<c10::ScalarType> type,
                     c10::optional<c10::Layout>, c10::optional<c10::Device>, c10::optional<bool>) {
    return new_tensor(sizes, strides, type.value_or(c10::ScalarType::Float));
}

// The one way between host and device.
Tensor copy_from(const Tensor& from, const Tensor& to, bool) {
    const Open open;
    ++operations;
    const Tensor target = is_here(to) ? seen_by_host(to) : to;
    target.copy_(is_here(from) ? seen_by_host(from) : from);
    return to;
}

}  // namespace

C10_REGISTER_GUARD_IMPL(PrivateUse1, c10::impl::NoOpDeviceGuardImpl<kType>);

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
    library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_by_cpu_kernel>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
    library.impl("empty.memory_format", empty);
    library.impl("empty_strided", empty_strided);
    library.impl("_copy_from", copy_from);
    library.impl("view", at::native::view);
    library.impl("as_strided", at::native::as_strided_tensorimpl);
    library.impl("_reshape_alias", at::native::_reshape_alias);
}

Device guarded_device() { return {.kind = DeviceKind::registered, .index = 0, .aten_kernels = true}; }

std::uint64_t guarded_operations() { return operations; }

std::uint64_t guarded_bytes() { return Region::get().taken(); }

}  // namespace kiban::worker
