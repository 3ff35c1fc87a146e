// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/box.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "monitoring/error.h"

namespace kiban::checkpoint {
namespace {

bool is_empty(const Box& box) { return std::ranges::find(box.extent, 0) != box.extent.end(); }

Shape strides_of(const Shape& extent) {
    Shape strides(extent.size(), 1);
    for (std::size_t dim = extent.size(); dim-- > 1;) strides[dim - 1] = strides[dim] * extent[dim];
    return strides;
}

bool contains(const Box& outer, const Box& inner) {
    if (outer.offset.size() != inner.offset.size()) return false;
    for (std::size_t dim = 0; dim < inner.offset.size(); ++dim) {
        if (inner.offset[dim] < outer.offset[dim]) return false;
        if (inner.offset[dim] + inner.extent[dim] > outer.offset[dim] + outer.extent[dim]) return false;
    }
    return true;
}

// Appends the boxes of [begin, end) within one sub-tensor of dimensions dim.. whose outer coordinates are fixed in
// `prefix`.
void append_flat_range(const Shape& shape, Box prefix, std::size_t dim, std::int64_t begin, std::int64_t end,
                       std::vector<Box>& boxes) {
    if (begin >= end) return;
    if (dim == shape.size()) {
        boxes.push_back(std::move(prefix));
        return;
    }
    std::int64_t row = 1;
    for (std::size_t inner = dim + 1; inner < shape.size(); ++inner) row *= shape[inner];
    const auto append_part_of_row = [&](std::int64_t index, std::int64_t from, std::int64_t to) {
        Box inside = prefix;
        inside.offset.push_back(index);
        inside.extent.push_back(1);
        append_flat_range(shape, std::move(inside), dim + 1, from, to, boxes);
    };
    std::int64_t first = begin / row;
    const std::int64_t last = end / row;
    if (begin % row != 0) {
        append_part_of_row(first, begin % row, std::min(row, end - first * row));
        ++first;
    }
    if (first < last) {
        Box rows = prefix;
        rows.offset.push_back(first);
        rows.extent.push_back(last - first);
        rows.offset.resize(shape.size(), 0);
        rows.extent.insert(rows.extent.end(), shape.begin() + static_cast<std::ptrdiff_t>(dim) + 1, shape.end());
        boxes.push_back(std::move(rows));
    }
    if (first <= last && end % row != 0) append_part_of_row(last, 0, end % row);
}

// The dimension along which the boxes differ most: sweeping along it compares the fewest pairs.
std::size_t sweep_dimension(const Shape& shape, const std::vector<const Box*>& boxes) {
    std::size_t best = 0;
    std::size_t most = 0;
    for (std::size_t dim = 0; dim < shape.size(); ++dim) {
        std::set<std::int64_t> offsets;
        for (const Box* box : boxes) offsets.insert(box->offset[dim]);
        if (offsets.size() > most) {
            most = offsets.size();
            best = dim;
        }
    }
    return best;
}

std::optional<std::string> overlap_fault(const Shape& shape, std::vector<const Box*> boxes) {
    if (shape.empty()) {
        if (boxes.size() > 1) return fmt::format("{} boxes hold its only element", boxes.size());
        return std::nullopt;
    }
    const std::size_t dim = sweep_dimension(shape, boxes);
    std::ranges::sort(boxes, {}, [dim](const Box* box) { return box->offset[dim]; });
    std::vector<const Box*> open;  // those that may still reach the sweep position
    for (const Box* box : boxes) {
        std::erase_if(open,
                      [&](const Box* other) { return other->offset[dim] + other->extent[dim] <= box->offset[dim]; });
        for (const Box* other : open) {
            if (intersect(*box, *other))
                return fmt::format("boxes {} and {} overlap", to_string(*other), to_string(*box));
        }
        open.push_back(box);
    }
    return std::nullopt;
}

}  // namespace

std::int64_t num_elements(const Shape& shape) {
    if (const auto negative = std::ranges::find_if(shape, [](std::int64_t size) { return size < 0; });
        negative != shape.end()) {
        throw CheckpointError("a tensor of shape {}: expected dimensions of at least 0, found {}", to_string(shape),
                              *negative);
    }
    if (std::ranges::find(shape, 0) != shape.end()) return 0;
    std::int64_t product = 1;
    for (const std::int64_t size : shape) {
        if (__builtin_mul_overflow(product, size, &product)) {
            throw CheckpointError("a tensor of shape {}: expected at most 2^63-1 elements", to_string(shape));
        }
    }
    return product;
}

Box whole(const Shape& shape) { return {Shape(shape.size(), 0), shape}; }

std::optional<Box> intersect(const Box& a, const Box& b) {
    KIBAN_CHECK(a.offset.size() == b.offset.size(), "boxes {} and {}", to_string(a), to_string(b));
    Box common = a;
    for (std::size_t dim = 0; dim < a.offset.size(); ++dim) {
        const std::int64_t begin = std::max(a.offset[dim], b.offset[dim]);
        const std::int64_t end = std::min(a.offset[dim] + a.extent[dim], b.offset[dim] + b.extent[dim]);
        if (begin >= end) return std::nullopt;
        common.offset[dim] = begin;
        common.extent[dim] = end - begin;
    }
    return common;
}

bool lies_inside(const Box& box, const Shape& shape) {
    if (box.offset.size() != shape.size() || box.extent.size() != shape.size()) return false;
    for (std::size_t dim = 0; dim < shape.size(); ++dim) {
        if (box.offset[dim] < 0 || box.extent[dim] < 0 || box.offset[dim] > shape[dim]) return false;
        if (box.extent[dim] > shape[dim] - box.offset[dim]) return false;
    }
    return true;
}

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ",")); }
std::string to_string(const Box& box) { return to_string(box.offset) + "+" + to_string(box.extent); }

std::vector<Box> boxes_of_flat_range(const Shape& shape, std::int64_t begin, std::int64_t end) {
    const std::int64_t elements = num_elements(shape);
    KIBAN_CHECK(0 <= begin && begin <= end && end <= elements, "elements [{}, {}) of shape {}", begin, end,
                to_string(shape));
    std::vector<Box> boxes;
    append_flat_range(shape, {}, 0, begin, end, boxes);
    return boxes;
}

void for_each_run(const Box& part, const Box& source, const Box& target,
                  const std::function<void(std::int64_t, std::int64_t, std::int64_t)>& visit) {
    KIBAN_CHECK(contains(source, part) && contains(target, part), "box {} of source {} and target {}", to_string(part),
                to_string(source), to_string(target));
    if (is_empty(part)) return;
    const Shape source_strides = strides_of(source.extent);
    const Shape target_strides = strides_of(target.extent);
    std::int64_t from = 0;
    std::int64_t to = 0;
    for (std::size_t dim = 0; dim < part.offset.size(); ++dim) {
        from += (part.offset[dim] - source.offset[dim]) * source_strides[dim];
        to += (part.offset[dim] - target.offset[dim]) * target_strides[dim];
    }
    // Dimensions outer.. form one run: a dimension joins the next outer one when the part fills it on both sides.
    std::size_t outer = part.extent.size();
    std::int64_t run = 1;
    while (outer > 0) {
        --outer;
        run *= part.extent[outer];
        if (part.extent[outer] != source.extent[outer] || part.extent[outer] != target.extent[outer]) break;
    }
    Shape index(outer, 0);
    for (;;) {
        visit(from, to, run);
        std::size_t dim = outer;
        for (;;) {
            if (dim == 0) return;
            --dim;
            from += source_strides[dim];
            to += target_strides[dim];
            if (++index[dim] < part.extent[dim]) break;
            from -= part.extent[dim] * source_strides[dim];
            to -= part.extent[dim] * target_strides[dim];
            index[dim] = 0;
        }
    }
}

void copy_box(const Box& part, const Box& source, const void* from, const Box& target, void* to,
              std::size_t element_bytes) {
    const auto* input = static_cast<const std::byte*>(from);
    auto* output = static_cast<std::byte*>(to);
    for_each_run(part, source, target, [&](std::int64_t first_in, std::int64_t first_out, std::int64_t elements) {
        std::memcpy(output + static_cast<std::size_t>(first_out) * element_bytes,
                    input + static_cast<std::size_t>(first_in) * element_bytes,
                    static_cast<std::size_t>(elements) * element_bytes);
    });
}

std::optional<std::string> tiling_fault(const Shape& shape, const std::vector<Box>& boxes) {
    std::vector<const Box*> filled;
    for (const Box& box : boxes) {
        if (!lies_inside(box, shape))
            return fmt::format("box {} does not lie inside shape {}", to_string(box), to_string(shape));
        if (!is_empty(box)) filled.push_back(&box);
    }
    if (auto fault = overlap_fault(shape, filled)) return fault;
    std::int64_t covered = 0;  // no overflow: the boxes are disjoint parts of the shape
    for (const Box* box : filled) covered += num_elements(box->extent);
    const std::int64_t elements = num_elements(shape);
    if (covered != elements) {
        return fmt::format("the boxes cover {} of the {} elements of shape {}", covered, elements, to_string(shape));
    }
    return std::nullopt;
}

}  // namespace kiban::checkpoint
