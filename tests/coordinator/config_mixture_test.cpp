// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <limits>

#include "coordinator/config/mixture.h"

namespace kiban::coordinator {
namespace {

using Mixture = std::vector<data::MixtureSegment>;

RunFile parse(const std::vector<std::string>& overrides) {
    return parse_run_file("[[data.sources]]\npath = 'a.txt'\n", "/base", "run.toml", overrides);
}

TEST(Mixture, OfARunIsTheCheckpointsUpToItsRowAndTheRunFilesFromThere) {
    const RunFile one = parse({"data.sources.0.weight=2"});
    const RunFile two = parse({"data.sources.0.weight=1", "data.sources.1.path=b"});
    EXPECT_EQ(mixture_of(nullptr, one), (Mixture{{0, {2}}}));
    checkpoint::RunState state;
    state.run_file = to_toml(one);
    state.position = 96;
    EXPECT_EQ(mixture_of(&state, one), (Mixture{{0, {2}}})) << "an older checkpoint";
    const Mixture changed = {{0, {2}}, {96, {1, 1}}};
    EXPECT_EQ(mixture_of(&state, two), changed);
    state.mixture = changed;  // saved at the row of the change, or behind it
    EXPECT_EQ(mixture_of(&state, two), changed);
    state.position = 120;
    EXPECT_EQ(mixture_of(&state, two), changed);
    state.position = 96;
    EXPECT_EQ(mixture_of(&state, one), (Mixture{{0, {2}}})) << "undone before a row came";
    state.position = 0;  // nothing was read: there is nothing to keep
    state.mixture = {{0, {2}}};
    EXPECT_EQ(mixture_of(&state, two), (Mixture{{0, {1, 1}}}));
}

// Changed at row 80; then the run goes back to what it had saved at row 40.
TEST(Mixture, AChangeThatTheRunWentBackBehindStaysAtItsRow) {
    const RunFile now = parse({"data.sources.0.weight=2"});
    const Mixture recorded = {{0, {1}}, {80, {2}}};
    checkpoint::RunState state;
    state.position = 40;
    state.mixture = {{0, {1}}};
    EXPECT_EQ(mixture_of(&state, now, recorded), recorded);
    EXPECT_EQ(mixture_of(&state, now), (Mixture{{0, {1}}, {40, {2}}})) << "nothing is known of it";
    state.mixture = recorded;  // as a fork has it, whose own record begins there
    EXPECT_EQ(mixture_of(&state, now), recorded);
    state.position = 0;
    EXPECT_EQ(mixture_of(&state, now, recorded), recorded);
    EXPECT_EQ(mixture_of(nullptr, now, recorded), recorded) << "no checkpoint is left";
    state.position = 88;
    state.mixture = recorded;
    EXPECT_EQ(mixture_of(&state, now, recorded), recorded);
}

TEST(Mixture, AnotherChangeAfterTheRunWentBackHoldsFromThere) {
    const Mixture recorded = {{0, {1}}, {80, {2}}};
    checkpoint::RunState state;
    state.position = 40;
    state.mixture = {{0, {1}}};
    EXPECT_EQ(mixture_of(&state, parse({"data.sources.0.weight=3"}), recorded), (Mixture{{0, {1}}, {40, {3}}}));
    EXPECT_EQ(mixture_of(&state, parse({"data.sources.0.weight=1"}), recorded), (Mixture{{0, {1}}})) << "undone";
    state.mixture = {{0, {5}}};  // the record is of other rows
    EXPECT_EQ(mixture_of(&state, parse({"data.sources.0.weight=2"}), recorded), (Mixture{{0, {5}}, {40, {2}}}));
}

TEST(Mixture, TwoOrdersAreTheSameUntilTheirFirstDifference) {
    constexpr auto kNever = std::numeric_limits<std::uint64_t>::max();
    EXPECT_EQ(same_rows_until({{0, {1}}}, {{0, {1}}}), kNever);
    EXPECT_EQ(same_rows_until({{0, {1}}}, {{0, {2}}}), 0U);
    EXPECT_EQ(same_rows_until({{0, {1}}, {80, {2}}}, {{0, {1}}}), 80U);
    EXPECT_EQ(same_rows_until({{0, {1}}, {80, {2}}}, {{0, {1}}, {40, {2}}}), 40U);
}

}  // namespace
}  // namespace kiban::coordinator
