// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/onednn_matmul.h"

#include <omp.h>

#include <array>
#include <map>
#include <memory>
#include <type_traits>
#include <utility>

#include "monitoring/error.h"

#if KIBAN_HAS_ONEDNN
#include <oneapi/dnnl/dnnl.h>
#endif

namespace kiban::worker {

#if KIBAN_HAS_ONEDNN && DNNL_VERSION_MAJOR == 2

namespace {

// Generation asks for a new shape with each token: what is kept has an end.
constexpr std::size_t kMostPrimitives = 256;

void check(dnnl_status_t status, const char* what) {
    KIBAN_CHECK(status == dnnl_success, "multiply bf16 matrices: oneDNN returned status {} to {}",
                static_cast<int>(status), what);
}

template <typename Handle, dnnl_status_t (*destroy)(Handle)>
struct Destroy {
    using pointer = Handle;
    void operator()(Handle handle) const { destroy(handle); }
};
template <typename Handle, dnnl_status_t (*destroy)(Handle)>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy<Handle, destroy>>;

using Engine = Owned<dnnl_engine_t, dnnl_engine_destroy>;
using Stream = Owned<dnnl_stream_t, dnnl_stream_destroy>;
using Memory = Owned<dnnl_memory_t, dnnl_memory_destroy>;
using Primitive = Owned<dnnl_primitive_t, dnnl_primitive_destroy>;
using Description = Owned<dnnl_primitive_desc_t, dnnl_primitive_desc_destroy>;
using Attributes = Owned<dnnl_primitive_attr_t, dnnl_primitive_attr_destroy>;
using PostOps = Owned<dnnl_post_ops_t, dnnl_post_ops_destroy>;

dnnl_memory_desc_t matrix(std::int64_t rows, std::int64_t columns, std::int64_t stride, Form form,
                          dnnl_data_type_t type) {
    const dnnl_dims_t dims = {rows, columns};
    const dnnl_dims_t plain = {stride, 1};
    const dnnl_dims_t turned = {1, stride};
    dnnl_memory_desc_t matrix;
    check(dnnl_memory_desc_init_by_strides(&matrix, 2, dims, type, form == Form::plain ? plain : turned),
          "describe a matrix");
    return matrix;
}

Attributes attributes_of(MatmulResult result) {
    dnnl_primitive_attr_t attributes = nullptr;
    check(dnnl_primitive_attr_create(&attributes), "make attributes");
    Attributes owned(attributes);
    if (result != MatmulResult::sum) return owned;
    dnnl_post_ops_t operations = nullptr;
    check(dnnl_post_ops_create(&operations), "make post-operations");
    const PostOps sum(operations);
    check(dnnl_post_ops_append_sum(operations, 1.0F), "append a sum");
    check(dnnl_primitive_attr_set_post_ops(attributes, operations), "set post-operations");
    return owned;
}

class Product {
  public:
    Product(const MatmulShape& shape, dnnl_engine_t engine) {
        const dnnl_data_type_t type = shape.result == MatmulResult::rounded ? dnnl_bf16 : dnnl_f32;
        const dnnl_memory_desc_t a = matrix(shape.m, shape.k, shape.a_stride, shape.a_form, dnnl_bf16);
        const dnnl_memory_desc_t b = matrix(shape.k, shape.n, shape.b_stride, shape.b_form, dnnl_bf16);
        const dnnl_memory_desc_t c = matrix(shape.m, shape.n, shape.c_stride, Form::plain, type);
        const dnnl_memory_desc_t bias = matrix(1, shape.n, shape.n, Form::plain, dnnl_f32);
        dnnl_matmul_desc_t matmul;
        check(dnnl_matmul_desc_init(&matmul, &a, &b, shape.has_bias ? &bias : nullptr, &c), "describe a product");
        const Attributes attributes = attributes_of(shape.result);
        dnnl_primitive_desc_t description = nullptr;
        check(dnnl_primitive_desc_create(&description, &matmul, attributes.get(), engine, nullptr),
              "choose a product's kernel");
        const Description owned(description);
        dnnl_primitive_t primitive = nullptr;
        check(dnnl_primitive_create(&primitive, description), "make a product");
        primitive_.reset(primitive);
        add(DNNL_ARG_SRC, a, engine);
        add(DNNL_ARG_WEIGHTS, b, engine);
        add(DNNL_ARG_DST, c, engine);
        if (shape.has_bias) add(DNNL_ARG_BIAS, bias, engine);
    }

    void run(dnnl_stream_t stream, const std::array<void*, 4>& data) {
        for (std::size_t i = 0; i < count_; ++i)
            check(dnnl_memory_set_data_handle(memories_[i].get(), data[i]), "set a matrix");
        check(dnnl_primitive_execute(primitive_.get(), stream, static_cast<int>(count_), arguments_.data()),
              "multiply");
        check(dnnl_stream_wait(stream), "wait for a product");
    }

  private:
    void add(int argument, const dnnl_memory_desc_t& description, dnnl_engine_t engine) {
        dnnl_memory_t memory = nullptr;
        check(dnnl_memory_create(&memory, &description, engine, DNNL_MEMORY_NONE), "make a matrix");
        memories_[count_].reset(memory);
        arguments_[count_] = {argument, memory};
        ++count_;
    }

    Primitive primitive_;
    std::array<Memory, 4> memories_;
    std::array<dnnl_exec_arg_t, 4> arguments_{};
    std::size_t count_ = 0;
};

class Products {
  public:
    Products() {
        dnnl_engine_t engine = nullptr;
        check(dnnl_engine_create(&engine, dnnl_cpu, 0), "make an engine");
        engine_.reset(engine);
        dnnl_stream_t stream = nullptr;
        check(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "make a stream");
        stream_.reset(stream);
    }

    void run(const MatmulShape& shape, const std::array<void*, 4>& data) {
        const auto key = std::pair(shape, omp_in_parallel() != 0 ? 1 : omp_get_max_threads());
        auto found = products_.find(key);
        if (found == products_.end()) {
            if (products_.size() >= kMostPrimitives) products_.clear();
            found = products_.try_emplace(key, shape, engine_.get()).first;
        }
        found->second.run(stream_.get(), data);
    }

  private:
    Engine engine_;
    Stream stream_;
    std::map<std::pair<MatmulShape, int>, Product> products_;  // by shape and number of threads
};

}  // namespace

bool onednn_multiplies_bf16() {
    static const bool able = [] {
        constexpr unsigned kWanted = dnnl_cpu_isa_avx512_core_bf16;
        return (static_cast<unsigned>(dnnl_get_effective_cpu_isa()) & kWanted) == kWanted;
    }();
    return able;
}

void onednn_matmul(const MatmulShape& shape, const Bf16* a, const Bf16* b, const float* bias, void* c) {
    thread_local Products products;
    products.run(shape, {const_cast<Bf16*>(a), const_cast<Bf16*>(b), c, const_cast<float*>(bias)});
}

#else

bool onednn_multiplies_bf16() { return false; }

void onednn_matmul(const MatmulShape& shape, const Bf16*, const Bf16*, const float*, void*) {
    throw InternalError("multiply bf16 matrices [{}, {}] x [{}, {}]: oneDNN 2 was not found", shape.m, shape.k, shape.k,
                        shape.n);
}

#endif

}  // namespace kiban::worker
