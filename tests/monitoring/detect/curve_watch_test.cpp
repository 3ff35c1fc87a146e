// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/curve_watch.h"

#include <gtest/gtest.h>

#include <set>

#include "monitoring/detect/state.h"
#include "monitoring/error.h"
#include "tests/monitoring/detect/simulate.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring::detect {
namespace {

// A run with everything in it: learning, a spike, a jump, a flat end; evaluated every 20 steps.
std::vector<CurveRow> eventful_rows(std::uint64_t steps = 6000) {
    std::vector<CurveRow> rows;
    Random random(31);
    for (std::uint64_t step = 1; step <= steps; ++step) {
        CurveRow row;
        row.step = step;
        row.tokens = 1024 * step;
        const double curve = 1.5 + 8 / std::sqrt(static_cast<double>(std::min<std::uint64_t>(step, 3000)));
        const double jump = step >= 2500 ? -0.3 : 0;
        row.loss = curve + jump + 0.02 * random.normal() + (step >= 1500 && step < 1510 ? 2 : 0);
        row.grad_norm = std::exp(0.3 * random.normal()) * (step == 4000 ? 50 : 1);
        row.learning_rate = 1e-3;
        if (step % 20 == 0) row.eval_loss = curve + jump + 0.05 + 0.001 * random.normal();
        rows.push_back(row);
    }
    return rows;
}

std::multiset<std::string> words(const std::vector<Event>& events) {
    std::multiset<std::string> words;
    for (const Event& event : events)
        words.insert(std::string(word_of(event.kind)) + "/" + std::string(word_of(event.series)));
    return words;
}

std::string list(const std::vector<Event>& events) {
    std::string text;
    for (const Event& event : events) text += describe(event) + "\n";
    return text;
}

// Accuracy jumps at the 25th of 50 evaluations, the loss falls as before, or jumps too.
std::vector<CurveRow> rows_with_accuracy(double jump_of_loss) {
    std::vector<CurveRow> rows;
    for (std::uint64_t step = 1; step <= 1000; ++step) {
        CurveRow row;
        row.step = step;
        row.tokens = 1024 * step;
        row.loss = 3 - 0.001 * static_cast<double>(step);
        row.grad_norm = 1;
        const bool after = step > 500;
        if (step % 20 == 0) {
            row.eval_loss = row.loss - (after ? jump_of_loss : 0);
            row.eval_accuracy = after ? 0.9 : 0.1;
            row.eval_targets = 1000;
        }
        rows.push_back(row);
    }
    return rows;
}

TEST(CurveWatch, AJumpOfAccuracyAloneIsAnEffectOfItsThreshold) {
    const auto alone = words(events_of(rows_with_accuracy(0)));
    EXPECT_EQ(alone.count("threshold_effect/holdout_accuracy"), 1u);
    EXPECT_EQ(alone.count("jump_up/holdout_accuracy"), 0u);
    const auto both = words(events_of(rows_with_accuracy(1)));
    EXPECT_EQ(both.count("threshold_effect/holdout_accuracy"), 0u);
    EXPECT_EQ(both.count("jump_up/holdout_accuracy"), 1u);
    auto unknown = rows_with_accuracy(0);
    for (CurveRow& row : unknown) row.eval_accuracy = std::nan("");
    EXPECT_EQ(words(events_of(unknown)).count("threshold_effect/holdout_accuracy"), 0u);
}

TEST(CurveWatch, StepsWithoutATargetAreNoEvents) {
    std::vector<CurveRow> rows = eventful_rows();
    const std::string expected = list(events_of(rows));
    std::vector<CurveRow> with_gaps;
    for (const CurveRow& row : rows) {
        with_gaps.push_back(row);
        if (row.step % 100 != 50) continue;
        CurveRow gap = row;
        gap.loss = gap.eval_loss = std::numeric_limits<double>::quiet_NaN();
        gap.grad_norm = 0;
        with_gaps.push_back(gap);
    }
    EXPECT_EQ(list(events_of(with_gaps)), expected);
}

// A source is added at step 500, and its holdout with it: what jumps there is not the network.
TEST(CurveWatch, AnotherHoldoutIsJudgedByItself) {
    auto rows = rows_with_accuracy(0);
    ASSERT_EQ(words(events_of(rows)).count("threshold_effect/holdout_accuracy"), 1u);
    for (CurveRow& row : rows) {
        if (row.step > 500 && row.eval_targets != 0) row.eval_targets = 1500;
    }
    for (const Event& event : events_of(rows)) EXPECT_EQ(event.series, Series::train_loss) << describe(event);
}

TEST(CurveWatch, TellsTheStoryOfARun) {
    const auto events = events_of(eventful_rows());
    const auto found = words(events);
    EXPECT_EQ(found.count("spike/train_loss"), 1u) << list(events);
    EXPECT_EQ(found.count("spike_recovered/train_loss"), 1u);
    EXPECT_EQ(found.count("spike/grad_norm"), 1u);
    EXPECT_EQ(found.count("jump_down/train_loss"), 1u) << list(events);
    EXPECT_EQ(found.count("jump_up/train_loss"), 0u) << "a spike of ten steps is no change of level";
    EXPECT_EQ(found.count("plateau_enter/holdout_loss"), 1u) << list(events);
    EXPECT_EQ(found.count("divergence/train_loss"), 0u);
    for (std::size_t i = 1; i < events.size(); ++i) EXPECT_LE(events[i - 1].step, events[i].step);
    EXPECT_EQ(phase_of(state_after(eventful_rows())), Phase::plateau);
}

TEST(CurveWatch, EventsAreTheSameForEverySplitOfTheRecord) {
    const auto rows = eventful_rows();
    const auto whole = events_of(rows);
    for (const std::size_t split : {1u, 399u, 1500u, 1505u, 2503u, 4000u, 5999u}) {
        std::vector<Event> events = events_of(std::span(rows).first(split));
        // What a resume does: the state anew from the record; and what a stored state would do.
        CurveState anew = state_after(std::span(rows).first(split));
        auto stored = load_state<CurveState>(save_state(anew));
        EXPECT_EQ(save_state(stored), save_state(anew));
        for (const CurveRow& row : std::span(rows).subspan(split)) {
            const auto more = observe(anew, row);
            EXPECT_EQ(more, observe(stored, row));
            events.insert(events.end(), more.begin(), more.end());
        }
        EXPECT_EQ(events, whole) << split;
        EXPECT_EQ(save_state(anew), save_state(state_after(rows))) << split;
    }
}

TEST(CurveWatch, NoEventSpeaksOfConvergenceOrStopping) {
    const std::string text = list(events_of(eventful_rows()));
    EXPECT_TRUE(contains(text, "plateau_enter")) << "the text must be there to be judged";
    for (const char* word : {"converge", "stop", "finished", "enough"}) EXPECT_FALSE(contains(text, word)) << word;
}

TEST(CurveWatch, ShowsSlopePlateauAndScore) {
    const auto rows = eventful_rows();
    EXPECT_TRUE(std::isnan(slope_nats_per_doubling(CurveState())));
    const CurveState falling = state_after(std::span(rows).first(1400));
    EXPECT_EQ(phase_of(falling), Phase::learning);
    EXPECT_LT(slope_nats_per_doubling(falling), -0.05);
    EXPECT_EQ(plateau_tokens(falling), 0u);
    const CurveState flat = state_after(rows);
    EXPECT_NEAR(slope_nats_per_doubling(flat), 0, 0.01);
    EXPECT_NEAR(static_cast<double>(plateau_tokens(flat)), 3000 * 1024, 800 * 1024) << "flat since step 3000";
    EXPECT_DOUBLE_EQ(spike_score(flat), 10.0 / 6000);
}

TEST(CurveWatch, PhasesOfGeneralisationAndDivergence) {
    std::vector<CurveRow> rows;
    for (std::uint64_t step = 1; step <= 100; ++step) {
        CurveRow row;
        row.step = row.tokens = step;
        row.grad_norm = 1;
        row.loss = step < 20 ? 3 : 0.01;
        row.eval_loss = step < 20 ? 3 : step < 60 ? 8 : 5;
        rows.push_back(row);
    }
    EXPECT_EQ(phase_of(state_after(std::span(rows).first(19))), Phase::learning);
    EXPECT_EQ(phase_of(state_after(std::span(rows).first(50))), Phase::memorised);
    EXPECT_EQ(phase_of(state_after(rows)), Phase::early_sign);
    for (CurveRow& row : rows) row.eval_loss = std::nan("");
    for (std::uint64_t step = 101; step <= 130; ++step) {
        rows.push_back(rows.back());
        rows.back().step = rows.back().tokens = step;
        rows.back().loss = 4;
    }
    EXPECT_EQ(phase_of(state_after(rows)), Phase::diverging);
}

TEST(CurveWatch, ARecordWithHolesAndWildValuesIsBorne) {
    auto rows = eventful_rows(2000);
    rows.erase(rows.begin() + 700, rows.begin() + 900);
    rows[300].loss = std::nan("");
    rows[301].grad_norm = HUGE_VAL;
    rows[302].tokens = 0;
    EXPECT_FALSE(events_of(rows).empty());
}

TEST(DetectorState, IsRefusedByNameWhenItIsNotOne) {
    const std::string sealed = save_state(SpikeState());
    EXPECT_TRUE(contains(message_of<IoError>([] { load_state<SpikeState>("nonsense that is long enough"); }),
                         "does not begin with 'KIBANDET'"));
    EXPECT_TRUE(contains(message_of<IoError>([&] { load_state<LevelState>(sealed); }), "expected"));
    EXPECT_TRUE(contains(message_of<IoError>([&] { load_state<SpikeState>(sealed.substr(0, 100)); }), "found"));
    std::string newer = sealed;
    newer[8] = 9;
    EXPECT_TRUE(contains(message_of<IoError>([&] { load_state<SpikeState>(newer); }), "has version 9"));
    for (const std::size_t place : {std::size_t{16}, std::size_t{500}, sealed.size() - 1}) {
        std::string damaged = sealed;
        damaged[place] = static_cast<char>(damaged[place] ^ 1);
        EXPECT_TRUE(contains(message_of<IoError>([&] { load_state<SpikeState>(damaged); }), "is damaged")) << place;
    }
}

}  // namespace
}  // namespace kiban::monitoring::detect
