// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/coordinator/kiban_process.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

class PlanCommand : public ::testing::Test {
  protected:
    PlanCommand() : directory_(fs::temp_directory_path() / fmt::format("kiban-plan-{}", ::getpid())) {
        fs::create_directories(directory_);
        std::ofstream(directory_ / "run.toml")
            << "[[data.sources]]\npath = 'text.txt'\n[launch]\nthreads_per_worker = 1\n";
    }
    ~PlanCommand() override { fs::remove_all(directory_); }

    Result plan(const std::vector<std::string>& options) const {
        std::vector<std::string> all = {"plan", (directory_ / "run.toml").string()};
        all.insert(all.end(), options.begin(), options.end());
        return kiban(all);
    }

    fs::path directory_;
};

TEST_F(PlanCommand, TheTableShowsTheLayoutOfTheRunFile) {
    const Result table = plan({"--workers", "4", "--set", "parallel.pipeline=2", "--set", "parallel.zero=2"});
    EXPECT_EQ(table.exit_code, 0) << table.err;
    EXPECT_TRUE(contains(table.out, "4 workers = data 2 x pipeline 2 x tensor 1; ZeRO 2: ")) << table.out;
    EXPECT_TRUE(contains(table.out, "\n    1     2-3 ")) << table.out;
    EXPECT_TRUE(contains(table.out, "  data     reduce_scatter")) << table.out;
    EXPECT_EQ(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()), 1) << "it made something";
}

TEST_F(PlanCommand, ReplicasAreShown) {
    const Result table = plan({"--workers", "4", "--set", "parallel.replicate=2", "--set", "parallel.zero=3"});
    EXPECT_EQ(table.exit_code, 0) << table.err;
    EXPECT_TRUE(contains(table.out, "4 workers = data 4 (2 replicas of 2) x pipeline 1 x tensor 1; ZeRO 3: "))
        << table.out;
    EXPECT_TRUE(contains(table.out, "  replica  all_reduce ")) << table.out;
    const Result refused = plan({"--workers", "4", "--set", "parallel.replicate=3"});
    EXPECT_EQ(refused.exit_code, 78);
    EXPECT_TRUE(contains(refused.err, "parallel.replicate = 3 does not divide the 4 data-parallel workers"))
        << refused.err;
}

TEST_F(PlanCommand, JsonHoldsTheSameInPlainNumbers) {
    const Result result =
        plan({"--workers", "4", "--set", "parallel.pipeline=2", "--set", "parallel.zero=2", "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto json = nlohmann::json::parse(result.out);
    EXPECT_EQ(json.at("layout").at("data"), 2);
    EXPECT_EQ(json.at("layout").at("zero"), 2);
    ASSERT_EQ(json.at("stages").size(), 2U);
    const auto& memory = json.at("stages")[0].at("memory_bytes");
    EXPECT_EQ(memory.at("optimizer"), memory.at("weights"));  // two floats, of half the parameters
    const auto largest = json.at("largest_stage").get<std::size_t>();
    EXPECT_EQ(json.at("peak_bytes"), json.at("stages")[largest].at("memory_bytes").at("sum"));
}

TEST_F(PlanCommand, WhatDoesNotDivideIsRefusedWithTheNumbers) {
    const Result result = plan({"--workers", "3", "--set", "parallel.tensor=2"});
    EXPECT_EQ(result.exit_code, 78);
    EXPECT_TRUE(contains(result.err, "cannot arrange 3 workers: expected a multiple of 2")) << result.err;
    EXPECT_TRUE(result.out.empty()) << result.out;
}

}  // namespace
}  // namespace kiban::coordinator
