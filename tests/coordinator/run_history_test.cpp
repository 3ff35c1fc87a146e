// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "coordinator/run/history.h"

namespace kiban::coordinator {
namespace {

using nlohmann::json;

json extended(std::uint64_t from, std::uint64_t to) { return {{"event", "extended"}, {"from", from}, {"to", to}}; }
json ended(int exit_code) { return {{"event", "coordinator_ended"}, {"exit_code", exit_code}}; }
json saved(double seconds) { return {{"event", "checkpoint"}, {"step", 5}, {"seconds", seconds}}; }

TEST(ExtendedSteps, FollowWhatOperatorsSaidFromTheRunFilesSteps) {
    const std::vector<json> journal = {extended(400, 600), ended(75), extended(600, 900)};
    EXPECT_EQ(extended_steps({}, 400), 400U);
    EXPECT_EQ(extended_steps(journal, 400), 900U);
    EXPECT_EQ(extended_steps(journal, 600), 900U);
    EXPECT_EQ(extended_steps(journal, 900), 900U);
    EXPECT_EQ(extended_steps(journal, 500), 500U) << "the run file was changed on purpose";
}

TEST(ExtendedSteps, AreThoseOfTheFileAgainWhereARunStartedOver) {
    EXPECT_EQ(extended_steps({extended(400, 600), {{"event", "started_over"}}}, 400), 400U);
    EXPECT_EQ(extended_steps({{{"event", "extended"}, {"from", "400"}, {"to", nullptr}}, {{"event", 5}}}, 400), 400U);
}

TEST(SecondsOfTheLastSave, AreThoseOfTheNewestCheckpointInTheJournal) {
    EXPECT_EQ(seconds_of_last_save({}), 0);
    EXPECT_EQ(seconds_of_last_save({saved(2), saved(7.5), ended(75)}), 7.5);
}

TEST(StartsWithoutCheckpoint, AreCountedBackToOneThatCommittedOrEndedOtherwise) {
    EXPECT_EQ(starts_without_checkpoint({}), 0U);
    EXPECT_EQ(starts_without_checkpoint({ended(75), saved(1), ended(75)}), 0U);
    EXPECT_EQ(starts_without_checkpoint({saved(1), ended(75), ended(75), ended(75)}), 2U);
    EXPECT_EQ(starts_without_checkpoint({ended(75), ended(70), ended(75)}), 1U);
    EXPECT_EQ(starts_without_checkpoint({ended(75), ended(75), saved(1)}), 2U);
}

}  // namespace
}  // namespace kiban::coordinator
