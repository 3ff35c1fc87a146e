// SPDX-License-Identifier: Apache-2.0
// What a checkpoint stores: named tensors, each as boxes owned by writers. Bytes, dtypes and shapes only: no Torch, no
// MPI.
//
// Elements are little-endian, bf16 is its 16 bits. Every function may be called from any thread.
#pragma once

#include "checkpoint/box.h"

#include <compare>
#include <cstdint>
#include <span>
#include <string>

namespace kiban::checkpoint {

enum class DType { f32, bf16, f64, i64, u8 };
std::size_t element_bytes(DType dtype);
const char* name_of(DType dtype);
DType dtype_of(const std::string& name);  // CheckpointError for an unknown one

/// kind: param | exp_avg | exp_avg_sq | momentum. The pair (name, kind) is unique in a checkpoint.
/// Both are made of letters, digits, '_', '-' and '.', with no '.' first: they become HDF5 link names.
struct TensorId {
    std::string name;  // such as layers.3.attention.q.weight: global layer index, q k v gate up stored apart
    std::string kind;
    auto operator<=>(const TensorId&) const = default;
};
std::string to_string(const TensorId& id);  // name (kind), for messages

struct TensorInfo {
    TensorId id;
    DType dtype = DType::f32;
    Shape shape;  // global, vocabulary not padded
    bool operator==(const TensorInfo&) const = default;
};

/// CheckpointError when the names, the number of dimensions or the size cannot be stored.
void check_tensor(const TensorInfo& tensor);

/// One writer's part of a tensor: `data` holds the box contiguously, row-major, and must live until the write returns.
struct TensorSlice {
    TensorInfo tensor;
    Box box;
    const void* data = nullptr;
};

/// Mesh-independent fingerprint: sum mod 2^64 over elements of mix64(global flat index, element bits). Parts add up.
std::uint64_t fingerprint(const TensorSlice& slice);

/// The part that comes from the elements `first`, first + 1, ... of the box (row-major), whose bytes are given.
std::uint64_t fingerprint_of_range(const TensorInfo& tensor, const Box& box, std::int64_t first,
                                   std::span<const std::byte> bytes);

}  // namespace kiban::checkpoint
