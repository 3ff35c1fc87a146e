// SPDX-License-Identifier: Apache-2.0
// Whole runs with the model cut along its axes: the curve of the uncut run, and with fixed reduction its very digits.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <sstream>

#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

class Sharding : public RunTest {
  protected:
    static std::vector<std::string> settings(std::vector<std::string> more) {
        std::vector<std::string> words;
        for (const std::string& setting : more) words.insert(words.end(), {"--set", setting});
        return words;
    }

    // Losses of a curve by step.
    std::vector<double> losses(const std::string& run) {
        std::istringstream text(csv(run));
        std::vector<double> result;
        std::string line;
        for (std::getline(text, line); std::getline(text, line);) {
            std::istringstream fields(line);
            std::string field;
            for (int i = 0; i < 3; ++i) std::getline(fields, field, ',');
            result.push_back(std::stod(field));
        }
        return result;
    }

    void expect_near(const std::string& run, const std::vector<double>& expected) {
        const std::vector<double> found = losses(run);
        ASSERT_EQ(found.size(), expected.size()) << run;
        for (std::size_t i = 0; i < expected.size(); ++i)
            ASSERT_NEAR(found[i], expected[i], 1e-4 * expected[i]) << run << ", step " << i + 1;
    }
};

TEST_F(Sharding, WithFixedReductionTheCurveHasTheSameDigitsFor1248Workers) {
    const auto fixed = [](int steps) {
        return settings({"train.reduction=fixed", "train.batch_rows=16", "train.micro_batch_rows=2",
                         fmt::format("train.steps={}", steps), "launch.threads_per_worker=1"});
    };
    ASSERT_EQ(kiban(pretrain("1 worker", 1, fixed(200))).exit_code, 0);
    const std::string expected = csv("1 worker");
    ASSERT_EQ(std::count(expected.begin(), expected.end(), '\n'), 201);
    for (const int workers : {2, 4, 8}) {
        const std::string run = fmt::format("{} workers", workers);
        const Ended ended = kiban(pretrain(run, workers, fixed(200)));
        ASSERT_EQ(ended.exit_code, 0) << ended.output;
        EXPECT_EQ(csv(run), expected) << run;
    }
}

TEST_F(Sharding, AResumeOnOtherWorkersIsExactWithFixedReductionAndSaysSo) {
    const auto fixed = [](int steps) {
        return settings({"train.reduction=fixed", "train.batch_rows=16", "train.micro_batch_rows=2",
                         fmt::format("train.steps={}", steps), "launch.threads_per_worker=1",
                         "train.schedule.name=constant", "train.schedule.warmup_steps=10"});
    };
    ASSERT_EQ(kiban(pretrain("whole", 1, fixed(120))).exit_code, 0);
    ASSERT_EQ(kiban(pretrain("moved", 2, fixed(60))).exit_code, 0);
    const Ended ended = kiban(pretrain("moved", 4, fixed(120)));
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_TRUE(contains(ended.output, "resuming from step 60 (exact)")) << ended.output;
    EXPECT_EQ(losses("moved"), losses("whole"));
}

class ShardingSoak : public Sharding {};

TEST_F(ShardingSoak, InTheFixedOrderReplicasComeAndGoWithoutChangingADigit) {
    const auto fixed = [](int steps, int replicate) {
        return settings({"train.reduction=fixed", "train.batch_rows=16", "train.micro_batch_rows=2",
                         fmt::format("train.steps={}", steps), fmt::format("parallel.replicate={}", replicate),
                         "launch.threads_per_worker=1", "train.schedule.name=constant",
                         "train.schedule.warmup_steps=10"});
    };
    ASSERT_EQ(kiban(pretrain("whole", 1, fixed(60, 1))).exit_code, 0);
    ASSERT_EQ(kiban(pretrain("moved", 4, fixed(20, 2))).exit_code, 0);
    for (const auto& [steps, replicate] : {std::pair{40, 1}, std::pair{60, 4}}) {
        const Ended ended = kiban(pretrain("moved", 4, fixed(steps, replicate)));
        ASSERT_EQ(ended.exit_code, 0) << ended.output;
        EXPECT_TRUE(contains(ended.output, fmt::format("resuming from step {} (exact)", steps - 20))) << ended.output;
    }
    EXPECT_EQ(losses("moved"), losses("whole"));
}

TEST_F(ShardingSoak, EveryAxisTrainsTheUncutRunAndSavesWhatOthersLoad) {
    const auto of = [](const std::vector<std::string>& more, int steps) {
        std::vector<std::string> all = {"train.batch_rows=8",
                                        "train.micro_batch_rows=2",
                                        "train.schedule.name=constant",
                                        "train.schedule.warmup_steps=10",
                                        fmt::format("train.steps={}", steps),
                                        "launch.threads_per_worker=1"};
        all.insert(all.end(), more.begin(), more.end());
        return settings(all);
    };
    ASSERT_EQ(kiban(pretrain("uncut", 1, of({}, 40))).exit_code, 0);
    const std::vector<double> expected = losses("uncut");
    const std::vector<std::pair<int, std::vector<std::string>>> cuts = {
        {2, {"parallel.zero=3"}},
        {2, {"parallel.tensor=2"}},
        {2, {"parallel.pipeline=2"}},
        {4, {"parallel.tensor=2", "parallel.pipeline=2", "train.activation_checkpointing=full"}},
        {4, {"parallel.tensor=2", "parallel.zero=2"}},
        {4, {"parallel.replicate=2", "parallel.zero=3"}},
    };
    for (std::size_t i = 0; i < cuts.size(); ++i) {
        const auto& [workers, cut] = cuts[i];
        const std::string run = fmt::format("cut {}", i);
        const Ended first = kiban(pretrain(run, workers, of(cut, 20)));
        ASSERT_EQ(first.exit_code, 0) << first.output;
        const auto& [others, other_cut] = cuts[(i + 1) % cuts.size()];  // goes on, cut in another way
        const Ended second = kiban(pretrain(run, others, of(other_cut, 40)));
        ASSERT_EQ(second.exit_code, 0) << second.output;
        EXPECT_TRUE(contains(second.output, "sample-exact")) << second.output;
        expect_near(run, expected);
    }
    const Ended text = kiban({"generate", "cut 2", "--prompt", "the", "--max-tokens", "5"});
    EXPECT_EQ(text.exit_code, 0) << "one worker holds all of a model that was trained in parts: " << text.output;
}

// Paragraphs packed into rows, each seen by itself alone: gpt2's positions count from the start of each, whoever holds
// which tokens.
TEST_F(ShardingSoak, PackedDocumentsApartTrainTheUncutRunOnEveryAxis) {
    std::ifstream text(dir_ / "text.txt");
    std::ofstream lines(dir_ / "text.jsonl");
    std::string paragraph;
    for (std::string line; std::getline(text, line);) {
        paragraph += line;
        if (!line.empty() || paragraph.empty()) continue;
        lines << nlohmann::json{{"text", paragraph}}.dump() << "\n";
        paragraph.clear();
    }
    lines.close();
    std::stringstream run_file;
    run_file << std::ifstream(dir_ / "run.toml").rdbuf();
    std::string toml = run_file.str();
    toml.replace(toml.find("text.txt"), 8, "text.jsonl");
    std::ofstream(dir_ / "run.toml") << toml;
    const auto of = [](const std::vector<std::string>& more, const char* attention = "model.attention=document") {
        std::vector<std::string> all = {"data.packing=best-fit", attention, "train.steps=15",
                                        "train.schedule.warmup_steps=5"};
        all.insert(all.end(), more.begin(), more.end());
        return settings(all);
    };
    ASSERT_EQ(kiban(pretrain("uncut", 1, of({}))).exit_code, 0);
    const std::vector<double> expected = losses("uncut");
    const std::vector<std::vector<std::string>> cuts = {
        {"parallel.zero=3"}, {"parallel.tensor=2"}, {"parallel.pipeline=2", "train.activation_checkpointing=full"}};
    for (std::size_t i = 0; i < cuts.size(); ++i) {
        const std::string run = fmt::format("cut {}", i);
        const Ended ended = kiban(pretrain(run, 2, of(cuts[i])));
        ASSERT_EQ(ended.exit_code, 0) << ended.output;
        expect_near(run, expected);
    }
    ASSERT_EQ(kiban(pretrain("seen", 1, of({}, "model.attention=row"))).exit_code, 0);
    EXPECT_NE(losses("seen"), expected);
}

}  // namespace
}  // namespace kiban::testing
