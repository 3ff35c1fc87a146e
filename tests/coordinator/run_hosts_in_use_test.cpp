// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "coordinator/run/hosts_in_use.h"
#include "coordinator/run/journal.h"
#include "tests/checkpoint/small_model.h"

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

// Two workers, and room for one on each of two hosts, of which an earlier start left out one.
TEST(LeftOutHosts, ThatTheOthersHaveNoRoomWithoutAreTakenAgainAndThatIsTold) {
    const checkpoint::testing::Scratch scratch;
    const auto hosts = scratch.path() / "hosts";
    std::ofstream(hosts) << "h1 slots=1\nh2 slots=1\n";
    ::setenv("OMPI_MCA_orte_default_hostfile", hosts.c_str(), 1);
    const RunDirectory directory(scratch.path());
    RunFile run_file = run_file_of({"launch.launcher=mpirun"});
    run_file.launch.workers = 2;
    Lease lease = Lease::acquire(scratch.path());
    StopSignals signals;
    Board board{directory, {}, ""};
    Console console{false};
    RequestBox requests{scratch.path()};
    Session session{.run_file = run_file,
                    .directory = directory,
                    .run_id = "r",
                    .lease = lease,
                    .signals = signals,
                    .board = board,
                    .console = console,
                    .requests = requests,
                    .asked_workers = 2};
    board.journal.add("host_left_out", {{"host", "h2"}, {"until", 1e12}, {"why", "host_lost"}});
    take_up_left_out_hosts(session);
    ::unsetenv("OMPI_MCA_orte_default_hostfile");
    EXPECT_TRUE(session.excluded_hosts.empty());
    const auto last = read_journal(directory.journal()).back();
    EXPECT_EQ(last.at("event"), "hosts_taken_again");
    EXPECT_EQ(last.at("hosts"), nlohmann::json::array({"h2"}));
    EXPECT_TRUE(board.status.decision.starts_with("hosts_taken_again: ")) << board.status.decision;
}

}  // namespace
}  // namespace kiban::coordinator
