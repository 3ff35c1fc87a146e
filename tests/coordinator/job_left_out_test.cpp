// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "coordinator/job/left_out.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

TEST(LeftOut, ABatchBeginsBehindTheRowsThatItWouldTouch) {
    const std::vector<data::RowRange> left_out = {{.first = 64, .count = 32}, {.first = 100, .count = 10}};
    EXPECT_EQ(next_position(0, 32, {}), 0u);
    EXPECT_EQ(next_position(0, 32, left_out), 0u);
    EXPECT_EQ(next_position(32, 32, left_out), 32u) << "it ends where they begin";
    EXPECT_EQ(next_position(33, 32, left_out), 110u) << "behind the first lie the second";
    EXPECT_EQ(next_position(95, 1, left_out), 96u);
    EXPECT_EQ(next_position(96, 4, left_out), 96u);
    EXPECT_EQ(next_position(96, 5, left_out), 110u);
    EXPECT_EQ(next_position(110, 32, left_out), 110u);
}

TEST(LeftOut, TravelsAsPairs) {
    const std::vector<data::RowRange> left_out = {{.first = 64, .count = 32}};
    EXPECT_EQ(to_json(left_out).dump(), "[[64,32]]");
    const auto back = row_ranges_from_json(to_json(left_out));
    ASSERT_EQ(back.size(), 1u);
    EXPECT_EQ(back[0].first, 64u);
    EXPECT_EQ(back[0].count, 32u);
    for (const char* wrong : {"{}", "[1]", "[[1]]", "[[1,2,3]]", "[[-1,2]]", "[[1,\"2\"]]"})
        EXPECT_THROW(row_ranges_from_json(nlohmann::json::parse(wrong)), ConfigError) << wrong;
}

}  // namespace
}  // namespace kiban::coordinator
