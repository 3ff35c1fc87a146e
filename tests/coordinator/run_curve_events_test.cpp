// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <memory>

#include "coordinator/run/curve_events.h"
#include "coordinator/run/journal.h"

namespace kiban::coordinator {
namespace {

namespace detect = monitoring::detect;
using monitoring::CurveRow;

// Bit-equal at every call: a loss that is a closed form of its step, with two spikes and one of the norm.
CurveRow row_of(std::uint64_t step, std::uint32_t attempt = 1) {
    CurveRow row;
    row.step = step;
    row.tokens = 100 * step;
    row.loss = 2 + 0.1 * std::sin(static_cast<double>(step * step));
    if (step == 200 || step == 320) row.loss += 1;
    row.grad_norm = step == 260 ? 40 : 1 + 0.1 * std::cos(static_cast<double>(step * step));
    row.attempt = attempt;
    return row;
}

// A run directory whose coordinator can be killed between any two of its acts.
class CurveEventsTest : public ::testing::Test {
  protected:
    CurveEventsTest()
        : directory_(std::filesystem::temp_directory_path() / fmt::format("kiban-events-{}", ::getpid())) {
        directory_.open_or_create();
    }
    ~CurveEventsTest() override { std::filesystem::remove_all(directory_.root()); }

    // One process of the coordinator: goes on from step `from`, records up to `to`; the last `unseen` of these are
    // recorded and then the process is killed before it looks at them.
    void live(std::uint32_t attempt, std::uint64_t from, std::uint64_t to, std::uint64_t unseen = 0) {
        monitoring::RunIdentity identity;
        identity.run = "demo";
        board_ = std::make_unique<Board>(directory_, identity, "");
        monitoring::CurveWriter curve(directory_.curve());
        CurveEvents events(*board_);
        go_on(events, curve, attempt, from, to, unseen);
    }

    void go_on(CurveEvents& events, monitoring::CurveWriter& curve, std::uint32_t attempt, std::uint64_t from,
               std::uint64_t to, std::uint64_t unseen = 0) {
        board_->journal.set_attempt(attempt);
        curve.begin_attempt(attempt, from);
        events.resume(monitoring::read_curve(directory_.curve()).rows, read_journal(directory_.journal()));
        for (std::uint64_t step = from + 1; step <= to; ++step) {
            curve.append(row_of(step, attempt));
            if (step + unseen <= to) events.add(row_of(step, attempt));
        }
    }

    std::vector<std::string> journaled() const {
        std::vector<std::string> found;
        for (const auto& entry : read_journal(directory_.journal())) {
            if (entry.value("event", "") != "curve") continue;
            found.push_back(
                fmt::format("{} {} {}", entry.value("step", 0), entry.value("kind", ""), entry.value("series", "")));
        }
        return found;
    }

    double value_of(const std::string& series) const {
        const std::string text = board_->metrics().text();
        const auto at = text.find("\n" + series + " ");
        return at == std::string::npos ? std::nan("") : std::stod(text.substr(at + series.size() + 2));
    }

    static std::vector<std::string> all() {
        return {"200 spike train_loss",          "201 spike_recovered train_loss", "260 spike grad_norm",
                "261 spike_recovered grad_norm", "320 spike train_loss",           "321 spike_recovered train_loss"};
    }

    RunDirectory directory_;
    std::unique_ptr<Board> board_;
};

TEST_F(CurveEventsTest, AnUninterruptedRunTellsEachEventOnceInJournalMetricsAndStatus) {
    live(1, 0, 400);
    EXPECT_EQ(journaled(), all());
    EXPECT_EQ(value_of("kiban_curve_events_total{run=\"demo\",kind=\"spike\"}"), 3);
    EXPECT_EQ(value_of("kiban_curve_last_event_step{run=\"demo\",kind=\"spike\"}"), 320);
    EXPECT_EQ(value_of("kiban_curve_phase{run=\"demo\",phase=\"learning\"}"), 1);
    EXPECT_DOUBLE_EQ(value_of("kiban_spike_score_ratio{run=\"demo\"}"), 2.0 / 400);
    EXPECT_EQ(board_->status.phase, "learning");
    ASSERT_EQ(board_->status.curve_events.size(), CurveEvents::kShown);
    EXPECT_TRUE(board_->status.curve_events.back().starts_with("step 321: spike_recovered of train_loss"));
}

TEST_F(CurveEventsTest, KilledAnywhereAndResumedFromAnyCheckpointTheEventsAreTheSame) {
    std::vector<CurveRow> rows;
    for (std::uint64_t step = 1; step <= 400; ++step) rows.push_back(row_of(step));
    const auto uninterrupted = detect::events_of(rows);
    for (const std::uint64_t killed : {199u, 200u, 201u, 250u, 320u, 390u}) {
        for (const std::uint64_t back : {0u, 1u, 60u, 150u}) {
            for (const std::uint64_t unseen : {0u, 1u, 5u}) {
                live(1, 0, killed, unseen);
                live(2, killed - back, 400);
                const auto surviving = monitoring::read_curve(directory_.curve()).rows;
                EXPECT_EQ(detect::events_of(surviving), uninterrupted) << killed << " " << back << " " << unseen;
                EXPECT_EQ(journaled(), all()) << killed << " " << back << " " << unseen;
                EXPECT_EQ(value_of("kiban_curve_last_event_step{run=\"demo\",kind=\"spike\"}"), 320);
                std::filesystem::remove_all(directory_.root());
                directory_.open_or_create();
            }
        }
    }
}

TEST_F(CurveEventsTest, ANewProcessCountsOnlyWhatItFindsItself) {
    live(1, 0, 250);
    live(2, 230, 400);
    EXPECT_EQ(value_of("kiban_curve_events_total{run=\"demo\",kind=\"spike\"}"), 2) << "260 and 320";
    EXPECT_EQ(value_of("kiban_curve_last_event_step{run=\"demo\",kind=\"spike_recovered\"}"), 321);
}

TEST_F(CurveEventsTest, WithinAProcessARollbackShowsTheEventsOfTheHistoryThatIsLeft) {
    live(1, 0, 330);
    monitoring::CurveWriter curve(directory_.curve());
    CurveEvents events(*board_);
    go_on(events, curve, 2, 210, 240);
    EXPECT_EQ(value_of("kiban_curve_last_event_step{run=\"demo\",kind=\"spike\"}"), 200);
    EXPECT_EQ(board_->status.curve_events.size(), 2u);
    EXPECT_EQ(value_of("kiban_curve_events_total{run=\"demo\",kind=\"spike\"}"), 3) << "and none was counted again";
}

TEST_F(CurveEventsTest, ACurveThatStartsOverTellsItsEventsAnew) {
    live(1, 0, 250);
    std::filesystem::remove_all(directory_.curve());
    board_->journal.add("started_over");
    live(2, 0, 250);
    EXPECT_EQ(journaled().size(), 4u);
}

TEST_F(CurveEventsTest, WithoutACoordinatorTheRecordTellsPhaseAndEvents) {
    RunStatus status;
    status.curve_events = {"old"};
    std::vector<CurveRow> rows;
    show_curve(status, rows);
    EXPECT_EQ(status.phase, "");
    EXPECT_TRUE(status.curve_events.empty());
    for (std::uint64_t step = 1; step <= 205; ++step) rows.push_back(row_of(step));
    show_curve(status, rows);
    EXPECT_EQ(status.phase, "learning");
    ASSERT_EQ(status.curve_events.size(), 2u);
    EXPECT_TRUE(status.curve_events.front().starts_with("step 200: spike of train_loss: "));
}

}  // namespace
}  // namespace kiban::coordinator
