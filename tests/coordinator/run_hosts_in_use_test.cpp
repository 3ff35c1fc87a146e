// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "coordinator/run/hosts_in_use.h"

namespace kiban::coordinator {
namespace {

RunFile run_file_of(std::vector<std::string> overrides) {
    overrides.insert(overrides.end(), {"launch.workers=8", "train.batch_rows=24", "train.micro_batch_rows=1"});
    return parse_run_file("[[data.sources]]\npath = 'a.txt'\n[launch]\nthreads_per_worker = 1\n", "/base", "run.toml",
                          overrides);
}

TEST(WorkersThatFit, AreAsManyAsThereIsRoomForAndAsDivideTheMicroBatches) {
    const RunFile run_file = run_file_of({});
    EXPECT_EQ(workers_that_fit(run_file, 8, 1), 8);
    EXPECT_EQ(workers_that_fit(run_file, 7, 1), 6) << "24 micro-batches";
    EXPECT_EQ(workers_that_fit(run_file, 5, 1), 4);
    EXPECT_EQ(workers_that_fit(run_file, 5, 5), 0) << "no fewer than the user has it";
    EXPECT_EQ(workers_that_fit(run_file, 0, 1), 0);
}

TEST(WorkersThatFit, KeepTheAxesThatCutTheModelAndThePowerOfTwoOfTheFixedReduction) {
    EXPECT_EQ(workers_that_fit(run_file_of({"parallel.tensor=2", "parallel.pipeline=2"}), 7, 1), 4);
    EXPECT_EQ(workers_that_fit(run_file_of({"parallel.tensor=2", "parallel.pipeline=2"}), 3, 1), 0);
    EXPECT_EQ(workers_that_fit(run_file_of({"train.reduction=fixed"}), 7, 1), 4);
    EXPECT_EQ(workers_that_fit(run_file_of({"parallel.replicate=2"}), 7, 1), 6);
}

}  // namespace
}  // namespace kiban::coordinator
