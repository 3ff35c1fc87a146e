// SPDX-License-Identifier: Apache-2.0
// The file of a trace, and who is answered what while one is made.
#include <gtest/gtest.h>

#include <filesystem>

#include "coordinator/run/step_trace.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t kBegin = 1'700'000'000'000'000'000;

json two_steps(std::uint64_t late_ns) {
    return json::array({json::array({"phases", "data", 7, kBegin + late_ns, 1'000}),
                        json::array({"phases", "backward", 7, kBegin + late_ns + 1'000, 2'500'000}),
                        json::array({"passes", "backward 0", 0, kBegin + late_ns + 2'000, 2'000}),
                        json::array({"exchanges", "all_gather data", 0, kBegin + late_ns + 3'000, 500}),
                        json::array({"phases", "reduce", 8, kBegin + late_ns + 4'000'000, 9'000})});
}

TEST(ChromeTrace, HasAProcessForEachRankAndATrackForEachKindOfSpan) {
    const json trace = json::parse(chrome_trace({{0, two_steps(0)}, {1, two_steps(500)}}));
    std::map<std::string, json> of_rank_1;
    std::size_t spans = 0;
    for (const json& event : trace.at("traceEvents")) {
        if (event.at("ph") == "X") ++spans;
        if (event.at("pid") == 1) of_rank_1[event.at("name").get<std::string>()] = event;
    }
    EXPECT_EQ(spans, 10U);
    EXPECT_EQ(of_rank_1.at("process_name").at("args").at("name"), "rank 1");
    const json& passes = of_rank_1.at("forward and backward");
    EXPECT_EQ(passes.at("ts"), 1.5) << "microseconds since the first span of all ranks";
    EXPECT_EQ(passes.at("dur"), 2500.0);
    EXPECT_EQ(passes.at("args").at("step"), 7);
    EXPECT_EQ(of_rank_1.at("communication").at("args").at("step"), 8);
    EXPECT_EQ(of_rank_1.at("backward 0").at("tid"), 2);
    EXPECT_EQ(of_rank_1.at("all_gather data").at("tid"), 3);
    EXPECT_FALSE(of_rank_1.at("all_gather data").contains("args"));
}

TEST(ChromeTrace, ASpanOfAnotherFormIsRefused) {
    for (const json& row : {json(7), json::array({"phases", "data", 7}), json::array({"phases", "data", -7, 1, 1})})
        EXPECT_THROW(chrome_trace({{0, json::array({row})}}), ConfigError) << row;
}

class StepTraces : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "kiban-traces-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        run_dir_ = name;
        box_ = std::make_unique<RequestBox>(run_dir_);
    }
    void TearDown() override { fs::remove_all(run_dir_); }

    Request ask(std::uint64_t steps) {
        place_request(run_dir_, {.id = "", .verb = "trace-steps", .steps = steps, .by = ""});
        return box_->take().at(0);
    }

    fs::path run_dir_;
    std::unique_ptr<RequestBox> box_;
};

TEST_F(StepTraces, TheLastRankCompletesTheFile) {
    StepTrace trace(run_dir_ / "traces", 2, *box_);
    const Request request = ask(2);
    trace.begin(request);
    EXPECT_THROW(trace.begin(request), ConfigError) << "one at a time";
    trace.add(1, {two_steps(0)});
    EXPECT_FALSE(take_answer(run_dir_, request.id).has_value());
    trace.add(0, {two_steps(0)});
    const auto answer = take_answer(run_dir_, request.id);
    ASSERT_TRUE(answer && answer->done);
    const std::string file = (run_dir_ / "traces" / "steps-7-7.json").string();
    EXPECT_EQ(answer->text, file + "\n1 of 2 steps: the run ended") << "of step 8 the beginning is missing";
    EXPECT_EQ(json::parse(monitoring::read_text(file)).at("traceEvents").size(), 18U);
    trace.add(0, {two_steps(0)});  // late: of nobody
    trace.end();
}

TEST_F(StepTraces, WhoWaitsIsToldWhenTheWorkersEndOrRecordNothing) {
    StepTrace trace(run_dir_ / "traces", 2, *box_);
    const Request first = ask(2);
    trace.begin(first);
    trace.add(1, {two_steps(0)});
    trace.end();
    const auto answer = take_answer(run_dir_, first.id);
    ASSERT_TRUE(answer && !answer->done);
    EXPECT_NE(answer->text.find("ended before all had sent"), std::string::npos) << answer->text;
    const Request second = ask(2);
    trace.begin(second);
    trace.add(0, {json::array()});
    trace.add(1, {json::array()});
    const auto nothing = take_answer(run_dir_, second.id);
    ASSERT_TRUE(nothing && !nothing->done);
    EXPECT_NE(nothing->text.find("before a step was recorded"), std::string::npos) << nothing->text;
    EXPECT_FALSE(fs::exists(run_dir_ / "traces"));
}

TEST_F(StepTraces, WhatIsLeftOutIsTold) {
    StepTrace trace(run_dir_ / "traces", 1, *box_);
    const Request request = ask(1);
    trace.begin(request);
    trace.add(0, {two_steps(0), 5});
    const auto answer = take_answer(run_dir_, request.id);
    ASSERT_TRUE(answer && answer->done);
    EXPECT_NE(answer->text.find("\n5 spans at the end are left out"), std::string::npos) << answer->text;
}

TEST_F(StepTraces, ATraceThatIsNoneOrTooLongIsRefused) {
    StepTrace trace(run_dir_ / "traces", 1, *box_);
    for (const json& spans : {json(7), json(std::vector<int>(kMostTraceSpans + 1))}) {
        const Request request = ask(1);
        trace.begin(request);
        trace.add(0, {spans});
        const auto answer = take_answer(run_dir_, request.id);
        ASSERT_TRUE(answer && !answer->done);
        EXPECT_NE(answer->text.find("of more than 1000000 spans"), std::string::npos) << answer->text;
    }
}

TEST_F(StepTraces, ANumberOfStepsThatIsTooLargeIsRefused) {
    StepTrace trace(run_dir_ / "traces", 1, *box_);
    for (const std::uint64_t steps : {std::uint64_t{0}, kMostTracedSteps + 1})
        EXPECT_THROW(trace.begin({.id = "x", .verb = "trace-steps", .steps = steps, .by = ""}), ConfigError) << steps;
}

}  // namespace
}  // namespace kiban::coordinator
