// SPDX-License-Identifier: Apache-2.0
// Boxes: axis-aligned parts of a tensor, the unit of storage and of resharding. Pure arithmetic, row-major, no I/O.
//
// A tensor of no dimensions has one element and one box, Box{}. Every function may be called from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
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

/// Product of the dimensions, 1 when there are none. CheckpointError for a negative dimension or more than 2^63-1
/// elements.
std::int64_t num_elements(const Shape& shape);
Box whole(const Shape& shape);
std::optional<Box> intersect(const Box& a, const Box& b);  // nullopt when empty
bool lies_inside(const Box& box, const Shape& shape);
std::string to_string(const Shape& shape);  // [2,3]
std::string to_string(const Box& box);      // [0,1]+[2,3]: offset and extent

/// The flat row-major elements [begin, end) of a tensor as at most 2N-1 boxes for N dimensions, in ascending order.
std::vector<Box> boxes_of_flat_range(const Shape& shape, std::int64_t begin, std::int64_t end);

/// Visits `part` (in tensor coordinates, inside both) in ascending order as the longest runs that are contiguous in
/// both buffers, the one that holds `source` and the one that holds `target`: visit(first element in source, first
/// element in target, number of elements).
void for_each_run(const Box& part, const Box& source, const Box& target,
                  const std::function<void(std::int64_t, std::int64_t, std::int64_t)>& visit);

/// Copies the elements of `part` (in tensor coordinates, inside both) from a buffer that holds `source` to one that
/// holds `target`.
void copy_box(const Box& part, const Box& source, const void* from, const Box& target, void* to,
              std::size_t element_bytes);

/// Whether the boxes are disjoint and cover the shape exactly; otherwise says what is wrong (for messages).
std::optional<std::string> tiling_fault(const Shape& shape, const std::vector<Box>& boxes);

}  // namespace kiban::checkpoint
