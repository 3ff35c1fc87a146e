// SPDX-License-Identifier: Apache-2.0
// What a checkpoint stores: named tensors, each as boxes owned by writers. Bytes, dtypes and shapes only: no Torch, no MPI.
#pragma once

#include <cstdint>
#include <string>

#include "checkpoint/box.h"

namespace kiban::checkpoint {

enum class DType { f32, bf16, f64, i64, u8 };
std::size_t element_bytes(DType dtype);
const char* name_of(DType dtype);
DType dtype_of(const std::string& name);  // CheckpointError for an unknown one

/// kind: param | exp_avg | exp_avg_sq. The pair (name, kind) is unique in a checkpoint.
struct TensorId {
    std::string name;  // such as layers.3.attention.q.weight: global layer index, q k v gate up stored apart
    std::string kind;
    auto operator<=>(const TensorId&) const = default;
};

struct TensorInfo {
    TensorId id;
    DType dtype = DType::f32;
    Shape shape;  // global, vocabulary not padded
};

/// One writer's part of a tensor: `data` holds the box contiguously, row-major, and must live until the write returns.
struct TensorSlice {
    TensorInfo tensor;
    Box box;
    const void* data = nullptr;
};

/// Mesh-independent fingerprint: sum mod 2^64 over elements of mix64(global flat index, element bits). Parts add up.
std::uint64_t fingerprint(const TensorSlice& slice);

}  // namespace kiban::checkpoint
