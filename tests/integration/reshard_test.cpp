// SPDX-License-Identifier: Apache-2.0
// Whole runs that stop on one layout and go on on another: each says how exactly, keeps that in its journal, and its
// curve is as exact as it said.
#include <fmt/format.h>

#include <cmath>
#include <map>
#include <sstream>

#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

struct LayoutCase {
    int workers;
    std::vector<std::string> settings;
};

struct PairCase {
    LayoutCase from;
    LayoutCase to;
    std::string level;  // as printed: "exact", or "sample-exact: " and what differs
};

std::string text_of(const LayoutCase& layout) {
    return fmt::format("{} workers {}", layout.workers, fmt::join(layout.settings, " "));
}

// Ranges of data workers that divide nothing evenly (3), both families' axes.
std::vector<PairCase> pairs() {
    return {
        {{2, {"parallel.zero=0"}}, {2, {"parallel.zero=1"}}, "exact"},
        {{2, {"parallel.tensor=2"}}, {2, {"parallel.tensor=2"}}, "exact"},
        {{3, {"parallel.zero=2"}}, {2, {"parallel.zero=2"}}, "sample-exact: workers was 3, is 2"},
        {{2, {"parallel.pipeline=2"}},
         {3, {"parallel.zero=3"}},
         "sample-exact: workers was 2, is 3; layout was tensor 1, pipeline 2"},
        {{4, {"parallel.tensor=2", "parallel.pipeline=2"}}, {1, {}}, "sample-exact: workers was 4, is 1"},
    };
}

// Each ZeRO stage, and the other way round.
std::vector<PairCase> more_pairs() {
    return {
        {{2, {"parallel.zero=2"}}, {2, {"parallel.zero=3"}}, "exact"},
        {{2, {"parallel.zero=1"}},
         {2, {"parallel.zero=3"}},
         "sample-exact: layout was tensor 1, pipeline 1, context 1, gradients summed each step, is tensor 1, pipeline "
         "1, context 1, gradients summed each micro-batch"},
        {{2, {"parallel.tensor=2"}}, {2, {"parallel.pipeline=2"}}, "sample-exact: layout was tensor 2, pipeline 1"},
        {{1, {}}, {4, {"parallel.tensor=2", "parallel.zero=2"}}, "sample-exact: workers was 1, is 4"},
    };
}

class ReshardedRun : public RunTest {
  protected:
    Ended train(const std::string& run, const LayoutCase& layout, int steps) {
        std::vector<std::string> words;
        std::vector<std::string> settings = {"train.batch_rows=12",
                                             "train.micro_batch_rows=2",
                                             "train.schedule.name=constant",
                                             "train.schedule.warmup_steps=5",
                                             "train.optimizer.learning_rate=0.002",
                                             fmt::format("train.steps={}", steps),
                                             "launch.threads_per_worker=1"};
        settings.insert(settings.end(), layout.settings.begin(), layout.settings.end());
        for (const std::string& setting : settings) words.insert(words.end(), {"--set", setting});
        return kiban(pretrain(run, layout.workers, words));
    }

    // Losses by step, as they are printed: equal text is equal bits.
    std::vector<std::string> losses(const std::string& run) {
        std::istringstream text(csv(run));
        std::vector<std::string> result;
        std::string line;
        for (std::getline(text, line); std::getline(text, line);) {
            std::istringstream fields(line);
            std::string field;
            for (int i = 0; i < 3; ++i) std::getline(fields, field, ',');
            result.push_back(field);
        }
        return result;
    }

    // The curve of a run that was never interrupted.
    const std::vector<std::string>& uninterrupted(const LayoutCase& layout) {
        std::vector<std::string>& known = uninterrupted_[text_of(layout)];
        if (known.empty()) {
            const std::string run = fmt::format("whole {}", uninterrupted_.size());
            const Ended ended = train(run, layout, kSteps);
            EXPECT_EQ(ended.exit_code, 0) << ended.output;
            known = losses(run);
            EXPECT_EQ(known.size(), static_cast<std::size_t>(kSteps));
        }
        return known;
    }

    // What the journal says of the last start.
    std::string journaled_exactness(const std::string& run) {
        std::string level;
        for (const auto& entry : coordinator::read_journal(coordinator::RunDirectory(dir_ / run).journal())) {
            if (entry.value("event", "") == "training") level = entry.value("exactness", "");
        }
        return level;
    }

    void expect_goes_on(const std::vector<PairCase>& pairs) {
        for (std::size_t i = 0; i < pairs.size(); ++i) {
            const auto& [from, to, level] = pairs[i];
            SCOPED_TRACE(text_of(from) + " to " + text_of(to));
            const std::string run = fmt::format("pair {}", i);
            const Ended first = train(run, from, kStop);
            ASSERT_EQ(first.exit_code, 0) << first.output;
            const Ended second = train(run, to, kSteps);
            ASSERT_EQ(second.exit_code, 0) << second.output;
            const bool exact = level == "exact";
            EXPECT_TRUE(
                contains(second.output, fmt::format("resuming from step {} ({}{}", kStop, level, exact ? ")" : "")))
                << second.output;
            EXPECT_TRUE(exact ? journaled_exactness(run) == level : journaled_exactness(run).starts_with(level))
                << journaled_exactness(run);
            const std::vector<std::string> found = losses(run);
            const std::vector<std::string>& expected = uninterrupted(exact ? to : LayoutCase{1, {}});
            ASSERT_EQ(found.size(), expected.size());
            if (exact) {
                EXPECT_EQ(found, expected);
                continue;
            }
            for (std::size_t step = 0; step < found.size(); ++step)
                ASSERT_NEAR(std::stod(found[step]), std::stod(expected[step]), 1e-4 * std::stod(expected[step]))
                    << "step " << step + 1;
        }
    }

    static constexpr int kStop = 10;
    static constexpr int kSteps = 20;
    std::map<std::string, std::vector<std::string>> uninterrupted_;
};

class ReshardedRunSoak : public ReshardedRun {};

TEST_F(ReshardedRun, Row23GoesOnAsExactlyAsItSays) { expect_goes_on(pairs()); }
TEST_F(ReshardedRunSoak, Row23GoesOnAsExactlyAsItSays) { expect_goes_on(more_pairs()); }

}  // namespace
}  // namespace kiban::testing
