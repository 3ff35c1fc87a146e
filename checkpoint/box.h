// SPDX-License-Identifier: Apache-2.0
// Boxes: axis-aligned parts of a tensor, the unit of storage and of resharding. Pure arithmetic, row-major, no I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace kiban::checkpoint {

using Shape = std::vector<std::int64_t>;

struct Box {
    Shape offset;  // first element, per dimension
    Shape extent;  // number of elements, per dimension; a zero makes the box empty
    bool operator==(const Box&) const = default;
};

std::int64_t num_elements(const Shape& shape);
Box whole(const Shape& shape);
std::optional<Box> intersect(const Box& a, const Box& b);  // nullopt when empty

/// The flat row-major elements [begin, end) of a tensor as at most 2N-1 boxes for N dimensions, in ascending order.
std::vector<Box> boxes_of_flat_range(const Shape& shape, std::int64_t begin, std::int64_t end);

/// Copies the elements of `part` (in tensor coordinates, inside both) from a buffer that holds `source` to one that holds `target`.
void copy_box(const Box& part, const Box& source, const void* from, const Box& target, void* to, std::size_t element_bytes);

/// Whether the boxes are disjoint and cover the shape exactly; otherwise says what is wrong (for messages).
std::optional<std::string> tiling_fault(const Shape& shape, const std::vector<Box>& boxes);

}  // namespace kiban::checkpoint
