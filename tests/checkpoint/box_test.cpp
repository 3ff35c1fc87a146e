// SPDX-License-Identifier: Apache-2.0
// Every property is checked against a count or copy element by element.
#include "checkpoint/box.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>

#include "checkpoint/placement.h"
#include "monitoring/error.h"

namespace kiban::checkpoint {
namespace {

std::int64_t flat_index(const Shape& shape, const Shape& at) {
    std::int64_t index = 0;
    for (std::size_t dim = 0; dim < shape.size(); ++dim) index = index * shape[dim] + at[dim];
    return index;
}

// Flat indices of the elements of a box, in its row-major order.
std::vector<std::int64_t> elements_of(const Shape& shape, const Box& box) {
    std::vector<std::int64_t> indices;
    for (std::int64_t i = 0; i < num_elements(box.extent); ++i) {
        Shape at(shape.size());
        std::int64_t rest = i;
        for (std::size_t dim = shape.size(); dim-- > 0;) {
            at[dim] = box.offset[dim] + rest % box.extent[dim];
            rest /= box.extent[dim];
        }
        indices.push_back(flat_index(shape, at));
    }
    return indices;
}

class RandomBoxes {
  public:
    std::int64_t between(std::int64_t low, std::int64_t high) {
        return std::uniform_int_distribution(low, high)(engine_);
    }
    Shape shape(std::size_t most_dims, std::int64_t most) {
        Shape shape(static_cast<std::size_t>(between(0, static_cast<std::int64_t>(most_dims))));
        for (auto& size : shape) size = between(1, most);
        return shape;
    }
    Box part(const Box& box) {
        Box part = box;
        for (std::size_t dim = 0; dim < box.offset.size(); ++dim) {
            const std::int64_t begin = between(0, box.extent[dim]);
            part.offset[dim] = box.offset[dim] + begin;
            part.extent[dim] = between(0, box.extent[dim] - begin);
        }
        return part;
    }

  private:
    std::mt19937_64 engine_{20240731};
};

TEST(Box, AFlatRangeIsAtMost2NMinus1BoxesInAscendingOrder) {
    for (const Shape& shape :
         {Shape{}, Shape{1}, Shape{7}, Shape{1, 1}, Shape{3, 4}, Shape{5, 1, 3}, Shape{3, 4, 2}, Shape{2, 3, 2, 3}}) {
        const std::int64_t elements = num_elements(shape);
        for (std::int64_t begin = 0; begin <= elements; ++begin) {
            for (std::int64_t end = begin; end <= elements; ++end) {
                const auto boxes = boxes_of_flat_range(shape, begin, end);
                const std::size_t most = shape.empty() ? 1 : 2 * shape.size() - 1;
                EXPECT_LE(boxes.size(), most) << to_string(shape) << " [" << begin << "," << end << ")";
                std::vector<std::int64_t> found;
                for (const Box& box : boxes) {
                    for (const std::int64_t index : elements_of(shape, box)) found.push_back(index);
                }
                std::vector<std::int64_t> expected;
                for (std::int64_t index = begin; index < end; ++index) expected.push_back(index);
                ASSERT_EQ(found, expected) << to_string(shape) << " [" << begin << "," << end << ")";
            }
        }
    }
}

TEST(Box, AFlatRangeOfAnEmptyTensorHasNoBoxes) { EXPECT_TRUE(boxes_of_flat_range({0, 3}, 0, 0).empty()); }

TEST(Box, AFlatRangeBeyondTheTensorIsRefused) {
    EXPECT_THROW(boxes_of_flat_range({2, 3}, 0, 7), InternalError);
    EXPECT_THROW(boxes_of_flat_range({2, 3}, 3, 2), InternalError);
}

TEST(Box, FlatPartsOfAnyNumberOfWritersTileTheTensor) {
    for (const Shape& shape : {Shape{}, Shape{6}, Shape{5, 7}, Shape{3, 2, 5}, Shape{0, 4}}) {
        for (int ranks = 1; ranks <= 9; ++ranks) {
            std::vector<Box> boxes;
            for (int rank = 0; rank < ranks; ++rank) {
                const Part part = part_of(num_elements(shape), rank, ranks);
                for (const Box& box : boxes_of_flat_range(shape, part.begin, part.end)) boxes.push_back(box);
            }
            EXPECT_EQ(tiling_fault(shape, boxes), std::nullopt) << to_string(shape) << " over " << ranks;
        }
    }
}

TEST(Box, IntersectionHoldsExactlyTheCommonElements) {
    RandomBoxes random;
    for (int round = 0; round < 2000; ++round) {
        const Shape shape = random.shape(3, 5);
        const Box a = random.part(whole(shape));
        const Box b = random.part(whole(shape));
        std::vector<std::int64_t> expected;
        const auto in_b = elements_of(shape, b);
        for (const std::int64_t index : elements_of(shape, a)) {
            if (std::ranges::find(in_b, index) != in_b.end()) expected.push_back(index);
        }
        const auto common = intersect(a, b);
        EXPECT_EQ(common.has_value(), !expected.empty());
        if (common) {
            EXPECT_EQ(elements_of(shape, *common), expected);
        }
    }
}

TEST(Box, CopyMovesExactlyThePartWhateverTheTwoBuffersHold) {
    RandomBoxes random;
    for (int round = 0; round < 2000; ++round) {
        const Shape shape = random.shape(4, 5);
        const Box source = random.part(whole(shape));
        const Box target = random.part(whole(shape));
        const auto part = intersect(source, target);
        if (!part) continue;
        const auto source_elements = elements_of(shape, source);
        const auto target_elements = elements_of(shape, target);
        std::vector<std::int64_t> to(target_elements.size(), -1);
        copy_box(*part, source, source_elements.data(), target, to.data(), sizeof(std::int64_t));
        const auto moved = elements_of(shape, *part);
        for (std::size_t i = 0; i < to.size(); ++i) {
            const bool in_part = std::ranges::find(moved, target_elements[i]) != moved.end();
            ASSERT_EQ(to[i], in_part ? target_elements[i] : -1);
        }
    }
}

TEST(Box, RunsAreAsLongAsBothBuffersAllow) {
    const Box tensor = whole({4, 3, 5});
    std::vector<std::int64_t> lengths;
    const auto collect = [&](std::int64_t, std::int64_t, std::int64_t elements) { lengths.push_back(elements); };
    for_each_run(tensor, tensor, tensor, collect);
    for_each_run({{1, 0, 0}, {2, 3, 5}}, tensor, {{1, 0, 0}, {2, 3, 5}}, collect);
    for_each_run({{0, 0, 1}, {1, 3, 2}}, tensor, {{0, 0, 1}, {1, 3, 2}}, collect);
    EXPECT_EQ(lengths, (std::vector<std::int64_t>{60, 30, 2, 2, 2}));
}

TEST(Box, CopyOutsideABufferIsRefused) {
    std::array<float, 6> buffer{};
    const Box all = whole({2, 3});
    EXPECT_THROW(copy_box({{0, 0}, {2, 4}}, all, buffer.data(), all, buffer.data(), 4), InternalError);
}

TEST(Box, TilingAgreesWithCountingElements) {
    RandomBoxes random;
    int tiled = 0;
    for (int round = 0; round < 20000; ++round) {
        const Shape shape = random.shape(2, 3);
        std::vector<Box> boxes(static_cast<std::size_t>(random.between(0, 4)));
        std::vector<int> covered(static_cast<std::size_t>(num_elements(shape)), 0);
        for (Box& box : boxes) {
            box = random.part(whole(shape));
            for (const std::int64_t index : elements_of(shape, box)) ++covered[static_cast<std::size_t>(index)];
        }
        const bool expected = std::ranges::all_of(covered, [](int count) { return count == 1; });
        tiled += expected ? 1 : 0;
        ASSERT_EQ(!tiling_fault(shape, boxes).has_value(), expected) << to_string(shape);
    }
    EXPECT_GT(tiled, 500);  // both answers occur
}

TEST(Box, TilingFaultsSayWhatIsWrong) {
    EXPECT_EQ(tiling_fault({4, 3}, {{{0, 0}, {2, 3}}}), "the boxes cover 6 of the 12 elements of shape [4,3]");
    EXPECT_EQ(tiling_fault({4, 3}, {{{0, 0}, {3, 3}}, {{2, 0}, {2, 3}}}), "boxes [0,0]+[3,3] and [2,0]+[2,3] overlap");
    EXPECT_EQ(tiling_fault({4, 3}, {{{0, 0}, {4, 4}}}), "box [0,0]+[4,4] does not lie inside shape [4,3]");
    EXPECT_EQ(tiling_fault({4, 3}, {{{0}, {12}}}), "box [0]+[12] does not lie inside shape [4,3]");
    EXPECT_EQ(tiling_fault({4}, {{{-1}, {5}}}), "box [-1]+[5] does not lie inside shape [4]");
    EXPECT_EQ(tiling_fault({4}, {{{1}, {INT64_MAX}}}), "box [1]+[9223372036854775807] does not lie inside shape [4]");
    EXPECT_EQ(tiling_fault({}, {}), "the boxes cover 0 of the 1 elements of shape []");
    EXPECT_EQ(tiling_fault({}, {Box{}, Box{}}), "2 boxes hold its only element");
    EXPECT_EQ(tiling_fault({}, {Box{}}), std::nullopt);
}

TEST(Box, TilingOfHugeTensorsWithManyWritersNeedsNoElementLoop) {
    const Shape shape{1LL << 20, 1LL << 20, 1LL << 20};
    for (std::size_t dim = 0; dim < shape.size(); ++dim) {
        std::vector<Box> boxes;
        for (int rank = 0; rank < 10000; ++rank) {
            const Part part = part_of(shape[dim], rank, 10000);
            Box box = whole(shape);
            box.offset[dim] = part.begin;
            box.extent[dim] = part.size();
            boxes.push_back(box);
        }
        EXPECT_EQ(tiling_fault(shape, boxes), std::nullopt);
        boxes[5000].extent[dim] -= 1;
        EXPECT_TRUE(tiling_fault(shape, boxes).has_value());
    }
}

TEST(Box, ElementsOfAShapeAreCountedWithoutOverflow) {
    EXPECT_EQ(num_elements({}), 1);
    EXPECT_EQ(num_elements({3, 4, 5}), 60);
    EXPECT_EQ(num_elements({INT64_MAX, 0, INT64_MAX}), 0);
    try {
        num_elements({INT64_MAX, 2});
        FAIL();
    } catch (const CheckpointError& error) {
        EXPECT_STREQ(error.what(), "a tensor of shape [9223372036854775807,2]: expected at most 2^63-1 elements");
    }
    try {
        num_elements({3, -2});
        FAIL();
    } catch (const CheckpointError& error) {
        EXPECT_STREQ(error.what(), "a tensor of shape [3,-2]: expected dimensions of at least 0, found -2");
    }
}

TEST(Placement, PartsAreContiguousEvenAndCoverAll) {
    for (std::int64_t size : {0, 1, 7, 8, 9, 100}) {
        for (int ranks : {1, 2, 3, 8, 11}) {
            std::int64_t next = 0;
            for (int rank = 0; rank < ranks; ++rank) {
                const Part part = part_of(size, rank, ranks);
                EXPECT_EQ(part.begin, next);
                EXPECT_GE(part.size(), size / ranks);
                EXPECT_LE(part.size(), size / ranks + 1);
                next = part.end;
            }
            EXPECT_EQ(next, size);
        }
    }
}

}  // namespace
}  // namespace kiban::checkpoint
