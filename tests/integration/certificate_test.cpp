// SPDX-License-Identifier: Apache-2.0
// The resume certificate: `kiban pretrain --verify-resume K` on runs whose resume is exact, is not, or is a lie.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>

#include "monitoring/curve.h"
#include "monitoring/file.h"
#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

class Certificate : public RunTest {
  protected:
    void SetUp() override {
        RunTest::SetUp();
        ASSERT_EQ(kiban(pretrain("run", 2, short_run())).exit_code, 0);
    }

    static std::vector<std::string> short_run() {
        return {"--set", "train.steps=60",
                "--set", "train.schedule.warmup_steps=10",
                "--set", "checkpoint.interval_steps=20",
                "--set", "checkpoint.keep=9",
                "--set", "train.eval_interval_steps=30"};
    }

    static std::vector<std::string> verification(int workers, int steps) {
        std::vector<std::string> more = short_run();
        more.insert(more.end(), {"--verify-resume", std::to_string(steps)});
        return pretrain("run", workers, more);
    }
    Ended verify(int workers, int steps) { return kiban(verification(workers, steps)); }

    nlohmann::json certificate() const {
        return nlohmann::json::parse(monitoring::read_text(dir_ / "run" / "resume-certificate.json"));
    }

    // The record as a run would have made it that had another loss at `step`.
    void change_loss_at(std::uint64_t step) const {
        const auto directory = dir_ / "run" / "curve";
        const auto rows = monitoring::read_curve(directory).rows;
        std::filesystem::remove_all(directory);
        monitoring::CurveWriter writer(directory);
        writer.begin_attempt(1, 0);
        for (monitoring::CurveRow row : rows) {
            if (row.step == step) row.loss = std::nextafter(row.loss, 100.0);
            writer.append(row);
        }
        writer.sync();
    }
};

TEST_F(Certificate, AReplayOnTheSameWorkersIsExactAndTouchesNothing) {
    const std::string curve = csv("run");
    const Ended ended = kiban_reading("run", verification(2, 35));
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_TRUE(contains(ended.output, "is exact: 35 of 35 steps equal")) << ended.output;
    const nlohmann::json found = certificate();
    EXPECT_LE(found.at("from_step"), 25) << "20, or 0 when the save of step 20 was skipped for that of step 0";
    EXPECT_EQ(found.at("equal_steps"), 35);
    EXPECT_EQ(found.at("level"), "exact");
    EXPECT_EQ(found.at("holds"), true);
    EXPECT_EQ(csv("run"), curve);
    EXPECT_EQ(journaled("run", "attempt_started"), 2u) << "preparation and training, not the replay";
}

TEST_F(Certificate, OnOtherWorkersItSaysThatSumsRoundDifferently) {
    const Ended ended = verify(1, 20);
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_TRUE(contains(ended.output, "is sample-exact")) << ended.output;
    EXPECT_LT(certificate().at("largest_relative_difference"), 1e-4);
}

TEST_F(Certificate, ARecordThatDiffersInItsLastBitIsNotCertified) {
    change_loss_at(50);
    const Ended ended = verify(2, 60);
    EXPECT_EQ(ended.exit_code, 74) << ended.output;
    EXPECT_TRUE(contains(ended.output, "step 50: loss")) << ended.output;
    EXPECT_EQ(certificate().at("holds"), false);
    EXPECT_EQ(certificate().at("equal_steps"), 59);
}

TEST_F(Certificate, MoreStepsThanWereRecordedAreRefused) {
    const Ended ended = verify(2, 61);
    EXPECT_EQ(ended.exit_code, 74);
    EXPECT_TRUE(contains(ended.output, "at most 60 recorded steps")) << ended.output;
}

TEST_F(Certificate, ARunFileThatDoesNotFitIsRefusedByName) {
    std::vector<std::string> more = short_run();
    more.insert(more.end(), {"--set", "run.seed=5", "--verify-resume", "5"});
    const Ended ended = kiban(pretrain("run", 2, more));
    EXPECT_EQ(ended.exit_code, 78) << ended.output;
    EXPECT_TRUE(contains(ended.output, "run.seed")) << ended.output;
}

}  // namespace
}  // namespace kiban::testing
