// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/mirage.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace kiban::monitoring::detect {
namespace {

template <typename Passed, typename Twin>
std::vector<Event> events(Passed passed, Twin twin, std::uint64_t items = 500) {
    MirageState state;
    std::vector<Event> found;
    for (std::uint64_t i = 0; i < 40; ++i) {
        const auto x = static_cast<double>(i);
        const double passed_share = passed(x);
        const double continuous = twin(x);
        const auto event = observe(state, {i * 10, i * 1000, passed_share, items, continuous});
        if (event) found.push_back(*event);
    }
    return found;
}

double step_at_20(double x) { return x < 20 ? 0.1 : 0.9; }

TEST(Mirage, AJumpWithASmoothTwinIsAnEffectOfTheThreshold) {
    const auto found = events(step_at_20, [](double x) { return 0.02 * x; });
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].kind, EventKind::threshold_effect);
    EXPECT_EQ(found[0].series, Series::holdout_accuracy);
    EXPECT_LE(found[0].step, 320u) << "within twelve measurements";
}

TEST(Mirage, AJumpOfBothIsAJump) {
    const auto found = events(step_at_20, [](double x) { return 0.01 * x + (x < 20 ? 0 : 1); });
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].kind, EventKind::jump_up);
    const auto down = events([](double x) { return 1 - step_at_20(x); }, [](double x) { return x < 20 ? 0 : -1; });
    ASSERT_EQ(down.size(), 1u);
    EXPECT_EQ(down[0].kind, EventKind::jump_down);
}

TEST(Mirage, ATwinThatBendsSmoothlyIsNoJump) {
    const auto found = events(step_at_20, [](double x) { return std::exp(0.1 * x); });
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].kind, EventKind::threshold_effect);
}

TEST(Mirage, AChangeThatFewItemsCannotShowIsNone) {
    EXPECT_TRUE(events([](double x) { return x < 20 ? 0.4 : 0.6; }, [](double) { return 0; }, 2).empty());
    EXPECT_TRUE(events([](double) { return 0.5; }, [](double x) { return x; }).empty());
}

}  // namespace
}  // namespace kiban::monitoring::detect
