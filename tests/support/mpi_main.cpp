// SPDX-License-Identifier: Apache-2.0
// main() of tests that run under mpirun: the same tests on every rank, results merged over ranks.
//
// A failure on any rank names the rank and fails the test on all of them; a world of another size than
// KIBAN_EXPECTED_RANKS, or on another number of hosts than KIBAN_EXPECTED_HOSTS, fails before any test runs.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <set>
#include <string>

#include "tests/support/mpi_world.h"
#include "worker/comm/mpi_environment.h"

namespace kiban::worker {
namespace {

const Group* world = nullptr;
int hosts = 0;

int hosts_of(const Group& group) {
    std::array<char, 256> name{};
    ::gethostname(name.data(), name.size() - 1);
    const std::vector<std::string> names = group.all_gather(std::string(name.data()));
    return static_cast<int>(std::set(names.begin(), names.end()).size());
}

class MergeOverRanks : public ::testing::EmptyTestEventListener {
  public:
    void OnTestPartResult(const ::testing::TestPartResult& result) override {
        if (result.passed() || world->rank() == 0) return;  // rank 0 has the usual printer
        std::fprintf(stderr, "[rank %d of %d] %s:%d: %s\n", world->rank(), world->size(),
                     result.file_name() != nullptr ? result.file_name() : "?", result.line_number(), result.message());
    }

    void OnTestEnd(const ::testing::TestInfo& info) override {
        std::array<std::int64_t, 1> failed_rank = {info.result()->Failed() ? world->rank() : -1};
        world->all_reduce_max(failed_rank);
        if (failed_rank[0] >= 0 && info.result()->Passed()) ADD_FAILURE() << "failed on rank " << failed_rank[0];
    }
};

int run(int argc, char** argv) {
    ::testing::InitGoogleTest(&argc, argv);
    const char* expected = std::getenv("KIBAN_EXPECTED_RANKS");
    const char* expected_hosts = std::getenv("KIBAN_EXPECTED_HOSTS");
    if (expected == nullptr || expected_hosts == nullptr) {
        std::fprintf(stderr,
                     "KIBAN_EXPECTED_RANKS and KIBAN_EXPECTED_HOSTS: run this through tests/support/mpirun.sh\n");
        return EXIT_FAILURE;
    }
    const MpiEnvironment environment;
    try {
        const Group all = environment.world(std::stoi(expected));
        world = &all;
        hosts = hosts_of(all);
        if (hosts != std::stoi(expected_hosts)) {
            if (all.rank() == 0) std::fprintf(stderr, "expected %s hosts, found %d\n", expected_hosts, hosts);
            return EXIT_FAILURE;
        }
        ::testing::TestEventListeners& listeners = ::testing::UnitTest::GetInstance()->listeners();
        if (all.rank() != 0) delete listeners.Release(listeners.default_result_printer());
        listeners.Append(new MergeOverRanks);
        std::array<std::int64_t, 1> result = {RUN_ALL_TESTS()};
        all.all_reduce_max(result);
        return static_cast<int>(result[0]);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        environment.abort(EXIT_FAILURE);
    }
}

}  // namespace

const Group& test_world() { return *world; }
int test_hosts() { return hosts; }

}  // namespace kiban::worker

int main(int argc, char** argv) { return kiban::worker::run(argc, argv); }
