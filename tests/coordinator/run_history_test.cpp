// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "coordinator/run/history.h"
#include "coordinator/run/row_walk.h"
#include "monitoring/error.h"

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

TEST(StartsWithoutProgress, AreCountedBackToOneThatAddedSomethingOrEndedOtherwise) {
    EXPECT_EQ(starts_without_progress({}), 0U);
    EXPECT_EQ(starts_without_progress({ended(75), saved(1), ended(75)}), 0U);
    EXPECT_EQ(starts_without_progress({saved(1), ended(75), ended(75), ended(75)}), 2U);
    EXPECT_EQ(starts_without_progress({ended(75), ended(70), ended(75)}), 1U);
    EXPECT_EQ(starts_without_progress({ended(75), ended(75), saved(1)}), 2U);
    const json part = {{"event", "preparation"}, {"tasks", 7}, {"of", 900}};
    EXPECT_EQ(starts_without_progress({ended(75), part, ended(75), part, ended(75), part, ended(75)}), 0U);
    EXPECT_EQ(starts_without_progress({part, ended(75), ended(75)}), 1U);
}

TEST(StartsWithoutProgress, WhoEndedWithoutAWordCountsOnceAnotherHasStarted) {
    const json started = {{"event", "coordinator_started"}};
    EXPECT_EQ(starts_without_progress({started}), 0U) << "it may still add something";
    EXPECT_EQ(starts_without_progress({started, started, started}), 2U);
    EXPECT_EQ(starts_without_progress({started, started, ended(75)}), 2U);
    EXPECT_EQ(starts_without_progress({started, ended(75), started, ended(75), started}), 2U);
    EXPECT_EQ(starts_without_progress({started, started, saved(1), started}), 0U);
    EXPECT_EQ(starts_without_progress({started, saved(1), started, ended(75)}), 1U);
    EXPECT_EQ(starts_without_progress({started, started, ended(70), started}), 0U);
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

// A stop is saved at once, also where the step that it came in was refused: then behind that step's rows.
TEST(RefusedBatches, AreThoseInFrontOfThePositionThatTrainingWentOnFrom) {
    const auto batch = [](int step, int position) {
        return json{{"event", "step_refused"}, {"step", step}, {"position", position}, {"rows", 8}};
    };
    const auto training = [](int step, int position) {
        return json{{"event", "training"}, {"from_step", step}, {"position", position}};
    };
    const auto first_rows = [](const std::vector<json>& journal) {
        std::vector<std::uint64_t> rows;
        for (const RefusedBatch& refused : refused_batches(journal)) rows.push_back(refused.rows.first);
        return rows;
    };
    EXPECT_EQ(first_rows({batch(2, 8), batch(4, 32), training(3, 40)}), (std::vector<std::uint64_t>{8, 32}));
    EXPECT_EQ(first_rows({batch(2, 8), batch(4, 32), training(3, 32)}), std::vector<std::uint64_t>{8});
    EXPECT_EQ(first_rows({batch(2, 8), batch(4, 32), {{"event", "training"}, {"from_step", 3}}}),
              std::vector<std::uint64_t>{8})
        << "older entries have the step alone";
    json handed_over = entry_of({.step = 5, .rows = {16, 8}});
    handed_over["event"] = "step_refused";
    EXPECT_EQ(first_rows({handed_over}), std::vector<std::uint64_t>{16}) << "as a fork has it";
}

TEST(OtherTargets, AreThoseOfDocumentsThatWereForgottenAndOfForksThatAttendOtherwise) {
    const json forgot = {{"event", "run_file_changed"}, {"changes", {"data.forget: saved \"\", now \"list\""}}};
    const json lasts = {{"event", "run_file_changed"}, {"changes", {"train.steps: saved 3, now 4"}}};
    EXPECT_FALSE(other_targets({lasts}));
    EXPECT_TRUE(other_targets({forgot, lasts}));
    EXPECT_FALSE(other_targets({forgot, {{"event", "started_over"}}}));
    EXPECT_TRUE(other_targets({{{"event", "forked"}, {"other_targets", true}}, lasts}));
    EXPECT_FALSE(other_targets({{{"event", "forked"}, {"other_targets", false}}}));
}

TEST(RecordedMixture, IsTheLastThatWasToldSinceTheRunStartedOver) {
    const auto changed = [](const std::vector<data::MixtureSegment>& mixture) {
        return json{{"event", "mixture_changed"}, {"mixture", data::to_json(mixture)}};
    };
    const std::vector<data::MixtureSegment> first = {{0, {1}}, {80, {0.1, 2}}};
    const std::vector<data::MixtureSegment> second = {{0, {1}}, {40, {3, 2}}};
    EXPECT_TRUE(recorded_mixture({}).empty());
    EXPECT_EQ(recorded_mixture({changed(first)}), first);
    EXPECT_EQ(recorded_mixture({changed(first), changed(second)}), second);
    EXPECT_TRUE(recorded_mixture({changed(first), {{"event", "started_over"}}}).empty());
}

TEST(FirstStepOfRows, IsThatOfTheForkWithOtherRowsThatTheyBeganWith) {
    const json forked = {{"event", "forked"}, {"step", 60}, {"rows_from", 40}};  // of a fork of step 40
    EXPECT_EQ(first_step_of_rows({}), 0U);
    EXPECT_EQ(first_step_of_rows({forked}), 40U);
    EXPECT_EQ(first_step_of_rows({{{"event", "forked"}, {"step", 40}}}), 0U) << "an older entry";
    EXPECT_EQ(first_step_of_rows({forked, {{"event", "started_over"}}}), 0U);
}

std::string fates(const std::vector<RowSpan>& spans) {
    std::string text;
    for (const RowSpan& span : spans)
        text += fmt::format("{}{}+{} ", "trl"[static_cast<int>(span.fate)], span.rows.first, span.rows.count);
    return text;
}

TEST(WalkedRows, AreEachTrainedOnRefusedOrLeftOut) {
    RowRecord record{.step = 3, .position = 24, .batch_rows = 8};
    EXPECT_EQ(fates(walk_rows(record)), "t0+8 t8+8 t16+8 ");
    record.refused = {{.step = 2, .rows = {8, 8}}, {.step = 2, .rows = {16, 8}}};
    record.position = 40;
    EXPECT_EQ(fates(walk_rows(record)), "t0+8 r8+8 r16+8 t24+8 t32+8 ");
    record.left_out = {{.first = 28, .count = 10}};  // the batch from 24 on would touch it
    record.position = 54;
    EXPECT_EQ(fates(walk_rows(record)), "t0+8 r8+8 r16+8 l24+14 t38+8 t46+8 ");
    record.refused.push_back({.step = 4, .rows = {54, 8}});  // before the checkpoint was written
    record.position = 62;
    EXPECT_EQ(fates(walk_rows(record)), "t0+8 r8+8 r16+8 l24+14 t38+8 t46+8 r54+8 ");
    EXPECT_EQ(fates(walk_rows({.first_step = 40, .step = 41, .position = 8, .batch_rows = 8})), "t0+8 ");
}

TEST(WalkedRows, ThatDoNotAddUpToTheCheckpointsPositionAreRefused) {
    const RowRecord record{.step = 3, .position = 32, .batch_rows = 8};
    try {
        walk_rows(record);
        FAIL() << "8 rows are nowhere";
    } catch (const DataError& error) {
        EXPECT_NE(std::string(error.what()).find("use the order up to row 24; the checkpoint of step 3 says 32"),
                  std::string::npos)
            << error.what();
    }
}

TEST(ThePolicysState, KnowsOfEarlierStartsWhatWasLeftOutAndRolledBack) {
    const json rolled_back = {{"event", "rolled_back"}, {"step", 120}};
    const PolicyState state = policy_state({left_out(64, "quarantine", 3), left_out(320, "rollback", 9), rolled_back});
    EXPECT_EQ(state.quarantined, (std::map<std::uint64_t, std::uint64_t>{{64, 3}}));
    EXPECT_EQ(state.rollbacks, std::vector<std::uint64_t>{120});
    EXPECT_EQ(state.failed_starts, 0U);
}

}  // namespace
}  // namespace kiban::coordinator
