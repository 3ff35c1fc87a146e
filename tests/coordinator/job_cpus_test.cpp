// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "coordinator/config/run_file.h"
#include "coordinator/job/cpus.h"

namespace kiban::coordinator {
namespace {

TEST(Cpus, TheCpusOfATaskAreAWorkersThreads) {
    EXPECT_EQ(threads_in_job(4, "6", nullptr), 6);
    EXPECT_EQ(threads_in_job(4, "6", "64"), 6);
}

TEST(Cpus, WithoutThemTheSmallestNodeIsSharedByItsWorkers) {
    EXPECT_EQ(threads_in_job(4, nullptr, "16"), 4);
    EXPECT_EQ(threads_in_job(4, nullptr, "8(x2)"), 4);
    EXPECT_EQ(threads_in_job(3, nullptr, "5(x2)"), 2);
    EXPECT_EQ(threads_in_job(6, nullptr, "8(x2),4"), 2);
    EXPECT_EQ(threads_in_job(8, nullptr, "4"), 1);
}

TEST(Cpus, WhatSlurmDoesNotSayOrNobodyUnderstandsIsLeftToTheMachine) {
    EXPECT_EQ(threads_in_job(4, nullptr, nullptr), std::nullopt);
    for (const char* strange : {"", "x", "8(x", "8(x2", "8,", "0", "8(x0)", "8;4"}) {
        EXPECT_EQ(threads_in_job(4, strange, strange), std::nullopt) << strange;
    }
    EXPECT_GE(default_threads(1000), 1);
}

TEST(Cpus, ThreadsThatTheRunFileNamesAreToldFromThoseOfTheMachine) {
    const std::string source = "[[data.sources]]\npath = 'a'\n";
    EXPECT_TRUE(parse_run_file(source, "/base", "run.toml").launch.threads_derived);
    EXPECT_FALSE(parse_run_file(source, "/base", "run.toml", {"launch.threads_per_worker=2"}).launch.threads_derived);
}

}  // namespace
}  // namespace kiban::coordinator
