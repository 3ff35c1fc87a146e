// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/tensor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "monitoring/error.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::checkpoint {
namespace {

using testing::box_bytes;
using testing::element_bits;
using testing::small_model;

// FORMAT.md, written a second time.
std::uint64_t reference_mix(std::uint64_t index, std::uint64_t bits) {
    std::uint64_t z = (index + 1) * 11400714819323198485ULL + bits * 15485907386658061715ULL;
    z = (z ^ (z >> 30)) * 13787848793156543929ULL;
    z = (z ^ (z >> 27)) * 10723151780598845931ULL;
    return z ^ (z >> 31);
}

TEST(Fingerprint, IsTheSumOverElementsThatTheFormatDefines) {
    for (const TensorInfo& tensor : small_model()) {
        std::uint64_t expected = 0;
        for (std::int64_t i = 0; i < num_elements(tensor.shape); ++i) {
            expected += reference_mix(static_cast<std::uint64_t>(i), element_bits(tensor, 3, i));
        }
        const auto bytes = box_bytes(tensor, 3, whole(tensor.shape));
        EXPECT_EQ(fingerprint({tensor, whole(tensor.shape), bytes.data()}), expected) << to_string(tensor.id);
    }
}

TEST(Fingerprint, PartsOfEveryLayoutAddUpToTheWhole) {
    for (const TensorInfo& tensor : small_model()) {
        const auto all = box_bytes(tensor, 3, whole(tensor.shape));
        const std::uint64_t expected = fingerprint({tensor, whole(tensor.shape), all.data()});
        for (const auto& layout : {testing::flat_layout, testing::first_dim_layout, testing::last_dim_layout}) {
            for (int ranks = 1; ranks <= 8; ++ranks) {
                std::uint64_t sum = 0;
                for (int rank = 0; rank < ranks; ++rank) {
                    for (const Box& box : layout(tensor, rank, ranks))
                        sum += fingerprint({tensor, box, box_bytes(tensor, 3, box).data()});
                }
                EXPECT_EQ(sum, expected) << to_string(tensor.id) << " over " << ranks;
            }
        }
    }
}

TEST(Fingerprint, RangesOfABoxAddUpToTheBox) {
    const TensorInfo tensor{{"w", "param"}, DType::f32, {6, 9, 4}};
    const Box box{{1, 2, 1}, {4, 5, 3}};
    const auto bytes = box_bytes(tensor, 1, box);
    const std::uint64_t expected = fingerprint({tensor, box, bytes.data()});
    for (std::size_t step = 1; step <= 60; ++step) {
        std::uint64_t sum = 0;
        for (std::size_t first = 0; first < 60; first += step) {
            const std::size_t count = std::min(step, 60 - first);
            sum += fingerprint_of_range(tensor, box, static_cast<std::int64_t>(first),
                                        std::span(bytes).subspan(first * 4, count * 4));
        }
        ASSERT_EQ(sum, expected) << step;
    }
}

TEST(Fingerprint, NoticesFlippedSwappedShiftedZeroedAndTransposedElements) {
    const TensorInfo tensor{{"w", "param"}, DType::f32, {8, 8}};
    std::vector<std::uint32_t> values(64);
    std::mt19937 engine(7);
    for (auto& value : values) value = static_cast<std::uint32_t>(engine());
    const Box box = whole(tensor.shape);
    const std::uint64_t good = fingerprint({tensor, box, values.data()});
    for (std::size_t i = 0; i < 64; ++i) {
        for (int bit = 0; bit < 32; ++bit) {
            auto changed = values;
            changed[i] ^= 1U << bit;
            ASSERT_NE(fingerprint({tensor, box, changed.data()}), good);
        }
        for (std::size_t j = 0; j < i; ++j) {
            auto changed = values;
            std::swap(changed[i], changed[j]);
            ASSERT_NE(fingerprint({tensor, box, changed.data()}), good);
        }
    }
    auto shifted = values;
    std::ranges::rotate(shifted, shifted.begin() + 1);
    EXPECT_NE(fingerprint({tensor, box, shifted.data()}), good);
    auto zeroed = values;
    std::fill(zeroed.begin() + 32, zeroed.end(), 0U);
    EXPECT_NE(fingerprint({tensor, box, zeroed.data()}), good);
    auto transposed = values;
    for (std::size_t i = 0; i < 64; ++i) transposed[i] = values[i % 8 * 8 + i / 8];
    EXPECT_NE(fingerprint({tensor, box, transposed.data()}), good);
}

TEST(DType, NamesAndSizesAreFixedByTheFormat) {
    const std::vector<std::tuple<DType, std::string, std::size_t>> expected{{DType::f32, "f32", 4},
                                                                            {DType::bf16, "bf16", 2},
                                                                            {DType::f64, "f64", 8},
                                                                            {DType::i64, "i64", 8},
                                                                            {DType::u8, "u8", 1}};
    for (const auto& [dtype, name, bytes] : expected) {
        EXPECT_EQ(name_of(dtype), name);
        EXPECT_EQ(element_bytes(dtype), bytes);
        EXPECT_EQ(dtype_of(name), dtype);
    }
    EXPECT_EQ(message_of<CheckpointError>([] { dtype_of("f16"); }),
              "unknown dtype 'f16': expected f32, bf16, f64, i64 or u8");
}

TEST(Tensor, NamesThatHdf5WouldTakeForPathsAreRefused) {
    for (const std::string& name :
         {std::string(), std::string("a/b"), std::string(".."), std::string("."), std::string("a b"),
          std::string("a\0b", 3), std::string(256, 'x'), std::string("\xC3\xA9")}) {
        EXPECT_NE(message_of<CheckpointError>([&] {
                      check_tensor({{name, "param"}, DType::f32, {1}});
                  }).find("expected a name and kind of 1 to 255"),
                  std::string::npos)
            << name;
        EXPECT_FALSE(message_of<CheckpointError>([&] {
                         check_tensor({{"w", name}, DType::f32, {1}});
                     }).empty())
            << name;
    }
    EXPECT_NO_THROW(check_tensor({{"layers.3.attention.q.weight", "exp_avg_sq"}, DType::f32, {1}}));
}

TEST(Tensor, SizesThatCannotBeStoredAreRefused) {
    EXPECT_EQ(message_of<CheckpointError>([] {
                  check_tensor({{"w", "param"}, DType::f32, Shape(33, 1)});
              }),
              "cannot store tensor 'w' (param): expected at most 32 dimensions, found 33");
    EXPECT_EQ(message_of<CheckpointError>([] {
                  check_tensor({{"w", "param"}, DType::f64, {INT64_MAX / 8 + 1}});
              }),
              "cannot store tensor 'w' (param): 1152921504606846976 elements of f64 are more than 2^63-1 bytes");
}

}  // namespace
}  // namespace kiban::checkpoint
