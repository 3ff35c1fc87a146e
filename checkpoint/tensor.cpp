// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/tensor.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "monitoring/error.h"
#include "monitoring/simd.h"

namespace kiban::checkpoint {
namespace {

static_assert(std::endian::native == std::endian::little, "stored elements are little-endian");

struct DTypeRow {
    DType dtype;
    const char* name;
    std::size_t bytes;
};
constexpr std::array<DTypeRow, 5> kDTypes{{{DType::f32, "f32", 4},
                                           {DType::bf16, "bf16", 2},
                                           {DType::f64, "f64", 8},
                                           {DType::i64, "i64", 8},
                                           {DType::u8, "u8", 1}}};

constexpr std::size_t kMaxDimensions = 32;  // of HDF5
constexpr std::size_t kMaxNameBytes = 255;

const DTypeRow& row_of(DType dtype) {
    const auto row = std::ranges::find(kDTypes, dtype, &DTypeRow::dtype);
    KIBAN_CHECK(row != kDTypes.end(), "dtype {}", static_cast<int>(dtype));
    return *row;
}

bool is_link_name(const std::string& name) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
               c == '.';
    };
    return !name.empty() && name.size() <= kMaxNameBytes && name.front() != '.' && std::ranges::all_of(name, allowed);
}

// The finaliser of splitmix64 (Steele, Lea and Flood 2014) over index and bits; FORMAT.md holds the same definition.
constexpr std::uint64_t kIndexStep = 0x9E3779B97F4A7C15u;
constexpr std::uint64_t kBitsFactor = 0xD6E8FEB86659FD93u;

[[gnu::always_inline]] inline std::uint64_t mix64(std::uint64_t scaled_index, std::uint64_t bits) {
    std::uint64_t z = scaled_index + bits * kBitsFactor;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

template <typename Bits>
[[gnu::always_inline]] inline std::uint64_t sum_of_run(std::uint64_t first_index, const std::byte* data,
                                                       std::size_t elements) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < elements; ++i) {
        Bits bits;
        std::memcpy(&bits, data + i * sizeof(Bits), sizeof(Bits));
        sum += mix64((first_index + 1 + i) * kIndexStep, bits);
    }
    return sum;
}

// All of a training state but a handful of bytes: as fast as memory is read, where the CPU multiplies vectors.
KIBAN_SIMD std::uint64_t sum_of_words(std::uint64_t first_index, const std::byte* data, std::size_t elements) {
    return sum_of_run<std::uint32_t>(first_index, data, elements);
}

std::uint64_t sum_of_run(std::size_t bytes_per_element, std::uint64_t first_index, const std::byte* data,
                         std::size_t elements) {
    switch (bytes_per_element) {
        case 1: return sum_of_run<std::uint8_t>(first_index, data, elements);
        case 2: return sum_of_run<std::uint16_t>(first_index, data, elements);
        case 4: return sum_of_words(first_index, data, elements);
        default: return sum_of_run<std::uint64_t>(first_index, data, elements);
    }
}

}  // namespace

std::size_t element_bytes(DType dtype) { return row_of(dtype).bytes; }
const char* name_of(DType dtype) { return row_of(dtype).name; }

DType dtype_of(const std::string& name) {
    for (const DTypeRow& row : kDTypes) {
        if (name == row.name) return row.dtype;
    }
    throw CheckpointError("unknown dtype '{}': expected f32, bf16, f64, i64 or u8", name);
}

std::string to_string(const TensorId& id) { return fmt::format("'{}' ({})", id.name, id.kind); }

void check_tensor(const TensorInfo& tensor) {
    if (!is_link_name(tensor.id.name) || !is_link_name(tensor.id.kind)) {
        throw CheckpointError(
            "cannot store a tensor: expected a name and kind of 1 to {} letters, digits, '_', '-' and '.', with no '.' "
            "first, found {}",
            kMaxNameBytes, to_string(tensor.id));
    }
    if (tensor.shape.size() > kMaxDimensions) {
        throw CheckpointError("cannot store tensor {}: expected at most {} dimensions, found {}", to_string(tensor.id),
                              kMaxDimensions, tensor.shape.size());
    }
    const auto most = std::numeric_limits<std::int64_t>::max() / static_cast<std::int64_t>(element_bytes(tensor.dtype));
    if (num_elements(tensor.shape) > most) {
        throw CheckpointError("cannot store tensor {}: {} elements of {} are more than 2^63-1 bytes",
                              to_string(tensor.id), num_elements(tensor.shape), name_of(tensor.dtype));
    }
}

std::uint64_t fingerprint(const TensorSlice& slice) {
    const std::size_t bytes =
        static_cast<std::size_t>(num_elements(slice.box.extent)) * element_bytes(slice.tensor.dtype);
    return fingerprint_of_range(slice.tensor, slice.box, 0, {static_cast<const std::byte*>(slice.data), bytes});
}

std::uint64_t fingerprint_of_range(const TensorInfo& tensor, const Box& box, std::int64_t first,
                                   std::span<const std::byte> bytes) {
    KIBAN_CHECK(lies_inside(box, tensor.shape), "box {} of tensor {}", to_string(box), to_string(tensor.id));
    const std::size_t size = element_bytes(tensor.dtype);
    const std::int64_t end = first + static_cast<std::int64_t>(bytes.size() / size);
    const Box tensor_box = whole(tensor.shape);
    std::uint64_t sum = 0;
    for (Box part : boxes_of_flat_range(box.extent, first, end)) {
        for (std::size_t dim = 0; dim < part.offset.size(); ++dim) part.offset[dim] += box.offset[dim];
        for_each_run(part, box, tensor_box, [&](std::int64_t in_box, std::int64_t in_tensor, std::int64_t elements) {
            sum += sum_of_run(size, static_cast<std::uint64_t>(in_tensor),
                              bytes.data() + static_cast<std::size_t>(in_box - first) * size,
                              static_cast<std::size_t>(elements));
        });
    }
    return sum;
}

}  // namespace kiban::checkpoint
