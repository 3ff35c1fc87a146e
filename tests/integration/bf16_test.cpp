// SPDX-License-Identifier: Apache-2.0
// Whole runs in bf16: resumed to the last digit, cut by their workers, told apart from fp32, and talked to.
#include <sstream>

#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

class Bf16Run : public RunTest {
  protected:
    static std::vector<std::string> settings(const std::vector<std::string>& more) {
        std::vector<std::string> words;
        for (const char* always : {"train.batch_rows=16", "train.micro_batch_rows=2", "launch.threads_per_worker=1",
                                   "train.schedule.name=constant", "train.schedule.warmup_steps=10"})
            words.insert(words.end(), {"--set", always});
        for (const std::string& setting : more) words.insert(words.end(), {"--set", setting});
        return words;
    }
    static std::vector<std::string> bf16(std::vector<std::string> more) {
        more.emplace_back("train.precision=bf16");
        return settings(more);
    }

    double last_loss(const std::string& run) {
        std::istringstream text(csv(run));
        std::string last;
        for (std::string line; std::getline(text, line);) last = line;
        std::istringstream fields(last);
        std::string field;
        for (int i = 0; i < 3; ++i) std::getline(fields, field, ',');
        return std::stod(field);
    }
};

class Bf16RunSoak : public Bf16Run {};

TEST_F(Bf16RunSoak, AWorkerThatDiesInTheMiddleOfAnUpdateChangesNothing) {
    ASSERT_EQ(kiban(pretrain("whole", 2, bf16({"train.steps=80"}))).exit_code, 0);
    const auto marker = dir_ / "died";
    const Ended ended = kiban(pretrain("killed", 2, bf16({"train.steps=80"})),
                              {{"KIBAN_FAULT", "step.update=kill@57"}, {"KIBAN_FAULT_ONCE", marker.string()}});
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_TRUE(std::filesystem::exists(marker)) << "the fault never fired";
    EXPECT_TRUE(contains(ended.output, "(exact)")) << ended.output;
    EXPECT_EQ(csv("killed"), csv("whole"));
}

TEST_F(Bf16Run, WithFixedReductionTheCurveHasTheSameDigitsFor124Workers) {
    const auto fixed = bf16({"train.steps=60", "train.reduction=fixed"});
    ASSERT_EQ(kiban(pretrain("1 worker", 1, fixed)).exit_code, 0);
    for (const int workers : {2, 4}) {
        const std::string run = std::to_string(workers) + " workers";
        const Ended ended = kiban(pretrain(run, workers, fixed));
        ASSERT_EQ(ended.exit_code, 0) << ended.output;
        EXPECT_EQ(csv(run), csv("1 worker")) << run;
    }
}

TEST_F(Bf16Run, AResumeInAnotherPrecisionIsNotCalledExact) {
    ASSERT_EQ(kiban(pretrain("run", 1, settings({"train.steps=30"}))).exit_code, 0);
    const Ended ended = kiban(pretrain("run", 1, bf16({"train.steps=60"})));
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_TRUE(contains(ended.output, "sample-exact: precision was fp32, is bf16")) << ended.output;
    ASSERT_EQ(kiban(pretrain("whole", 1, settings({"train.steps=60"}))).exit_code, 0);
    EXPECT_NE(csv("run"), csv("whole"));
    EXPECT_NEAR(last_loss("run"), last_loss("whole"), 0.01 * last_loss("whole"));
}

TEST_F(Bf16Run, WhatItLearnedCanBeGeneratedFrom) {
    ASSERT_EQ(kiban(pretrain("run", 1, bf16({"train.steps=40"}))).exit_code, 0);
    const std::vector<std::string> asked = {"generate", "run", "--prompt", "The ", "--max-tokens", "20", "--seed", "5"};
    const Ended once = kiban(asked);
    EXPECT_EQ(once.exit_code, 0) << once.output;
    EXPECT_FALSE(once.output.empty());
    EXPECT_EQ(kiban(asked).output, once.output);
}

}  // namespace
}  // namespace kiban::testing
