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

json set(const std::string& key, const std::string& from, const std::string& to) {
    return {{"event", "set"}, {"key", key}, {"from", from}, {"to", to}};
}

TEST(LiveSettings, FollowWhatOperatorsSaidFromTheRunFilesValue) {
    const std::vector<json> journal = {set("checkpoint.keep", "3", "5"), ended(75), set("checkpoint.keep", "5", "7"),
                                       set("launch.max_restarts", "10", "1")};
    RunFile file = parse_run_file("[[data.sources]]\npath = 'x'\n", ".", "test");
    EXPECT_EQ(with_live_settings(journal, file).checkpoint.keep, 7U);
    EXPECT_EQ(with_live_settings(journal, file).launch.max_restarts, 1U);
    file.checkpoint.keep = 4;
    EXPECT_EQ(with_live_settings(journal, file).checkpoint.keep, 4U) << "the run file was changed on purpose";
    file.checkpoint.keep = 3;
    const std::vector<json> anew = {journal[0], {{"event", "started_over"}}};
    EXPECT_EQ(with_live_settings(anew, file).checkpoint.keep, 3U);
}

TEST(LiveSettings, ThatMakeNoSenseNowAreLeftOut) {
    const RunFile file = parse_run_file("[[data.sources]]\npath = 'x'\n", ".", "test");
    const std::vector<json> journal = {set("checkpoint.keep", "3", "1"),
                                       set("model.layers", "4", "9"),
                                       {{"event", "set"}, {"key", 4}},
                                       set("nothing", "", "1")};
    EXPECT_TRUE(all_changes(file, with_live_settings(journal, file)).empty());
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

json left_out(std::uint64_t first, const char* why, std::uint64_t step) {
    return {{"event", "rows_left_out"}, {"first", first}, {"count", 32}, {"why", why}, {"step", step}};
}
json refused(std::uint64_t step) { return {{"event", "step_refused"}, {"step", step}}; }

TEST(LeftOutRows, AreThoseSinceTheRunStartedOver) {
    const auto rows = left_out_rows({left_out(0, "quarantine", 1),
                                     {{"event", "started_over"}},
                                     left_out(64, "quarantine", 3),
                                     left_out(320, "rollback", 9)});
    ASSERT_EQ(rows.size(), 2U);
    EXPECT_EQ(rows[0].first, 64U);
    EXPECT_EQ(rows[1].first, 320U);
    EXPECT_EQ(rows[1].count, 32U);
}

TEST(RowsInOrder, EndWithTheFirstThatWasRefusedOrLeftOutSinceTheRunStartedOver) {
    const json at_160 = {{"event", "step_refused"}, {"step", 5}, {"position", 160}, {"rows", 32}};
    EXPECT_EQ(rows_in_order({}), ~std::uint64_t{0});
    EXPECT_EQ(rows_in_order({at_160}), 160U);
    EXPECT_EQ(rows_in_order({at_160, left_out(96, "rollback", 4)}), 96U);
    EXPECT_EQ(rows_in_order({left_out(96, "rollback", 4), at_160}), 96U);
    EXPECT_EQ(rows_in_order({left_out(0, "quarantine", 1), {{"event", "started_over"}}, at_160}), 160U);
    EXPECT_EQ(rows_in_order({at_160, {{"event", "started_over"}}}), ~std::uint64_t{0});
}

TEST(RefusedSteps, AreThoseOfTheSurvivingHistory) {
    const json resumed = {{"event", "training"}, {"from_step", 50}};
    const std::vector<std::uint64_t> expected = {40, 61};
    EXPECT_EQ(refused_steps({refused(40), refused(61), resumed, refused(61)}), expected);
    EXPECT_TRUE(refused_steps({refused(40), {{"event", "started_over"}}}).empty());
}

TEST(LeftOutHosts, AreThoseWhoseTimeHasNotPassed) {
    const std::vector<nlohmann::json> journal = {{{"event", "host_left_out"}, {"host", "h2"}, {"until", 2000.5}},
                                                 {{"event", "host_left_out"}, {"host", "h3"}, {"until", 1000}},
                                                 {{"event", "started_over"}},
                                                 {{"event", "host_left_out"}, {"host", "h4"}, {"until", "soon"}}};
    EXPECT_EQ(left_out_hosts(journal, 999), (std::set<std::string>{"h2", "h3"})) << "a host is no better for a new run";
    EXPECT_EQ(left_out_hosts(journal, 1000), std::set<std::string>{"h2"});
    EXPECT_EQ(left_out_hosts(journal, 2001), std::set<std::string>{});
}

TEST(ThePolicysState, KnowsOfEarlierStartsWhatWasLeftOutAndRolledBack) {
    const json rolled_back = {{"event", "rolled_back"}, {"step", 120}};
    const PolicyState state = policy_state({left_out(64, "quarantine", 3), left_out(320, "rollback", 9), rolled_back});
    EXPECT_EQ(state.quarantined, std::set<std::uint64_t>{3});
    EXPECT_EQ(state.rollbacks, std::vector<std::uint64_t>{120});
    EXPECT_EQ(state.failed_starts, 0U);
}

}  // namespace
}  // namespace kiban::coordinator
