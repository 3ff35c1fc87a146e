// SPDX-License-Identifier: Apache-2.0
// All ranks of one node add up a large buffer: Kiban's all_reduce_sum against MPI_Allreduce, in place and with separate
// buffers, taking turns in one run.
//
//     tests/support/mpirun.sh 2 BUILD/tests/collectives_bench [ROUNDS]
//     KIBAN_RANKS_PER_NODE=2 tests/support/mpirun.sh 4 BUILD/tests/collectives_bench      # as on two nodes
//
// Prints medians over the rounds of the slower rank's GB/s (bytes of the buffer by seconds); on several nodes also that
// of messages between all ranks. Exit code 1 when, on one node, a buffer of 64 MB or more is below three times
// MPI_Allreduce in place. MPI's rate depends on whether malloc keeps its
// temporary buffer between calls (worker/README.md has both).
#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

#include "worker/comm/mpi_environment.h"

namespace kiban::worker {
namespace {

constexpr double kFloor = 3.0;
constexpr std::size_t kFloorMegabytes = 64;

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

// Seconds of the slowest rank.
template <typename Work>
double seconds_of(const Work& work) {
    MPI_Barrier(MPI_COMM_WORLD);
    const auto start = std::chrono::steady_clock::now();
    work();
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    return seconds;
}

// Returns how many times faster than MPI_Allreduce in place.
double measure(const Group& world, const Group& messages, std::size_t megabytes, int rounds) {
    const std::size_t count = megabytes * 1'000'000 / sizeof(float);
    std::vector<float> flat(count, 0.0F);  // zeros: sums stay finite however often they are taken
    std::vector<float> result(count, 0.0F);
    const auto length = static_cast<int>(count);
    std::array<std::vector<double>, 4> seconds;
    for (int round = -1; round < rounds; ++round) {
        const std::array<double, 4> taken = {
            seconds_of([&] { world.all_reduce_sum(std::span<float>(flat)); }),
            seconds_of([&] { MPI_Allreduce(MPI_IN_PLACE, flat.data(), length, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); }),
            seconds_of([&] { MPI_Allreduce(flat.data(), result.data(), length, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); }),
            seconds_of([&] { messages.all_reduce_sum(std::span<float>(flat)); })};
        if (round < 0) continue;  // pages and connections
        for (std::size_t i = 0; i < seconds.size(); ++i) seconds[i].push_back(taken[i]);
    }
    std::array<double, 4> rates;
    for (std::size_t i = 0; i < seconds.size(); ++i)
        rates[i] = static_cast<double>(megabytes) * 1e-3 / median(seconds[i]);
    if (world.rank() == 0) {
        fmt::print("{:>8} {:>10.2f} {:>12.2f} {:>12.2f} {:>10.2f} {:>10.2f} {:>10.2f}\n", megabytes, rates[0], rates[1],
                   rates[2], rates[3], rates[0] / rates[1], rates[0] / rates[3]);
        std::fflush(stdout);
    }
    return rates[0] / rates[1];
}

int run(int argc, char** argv) {
    const MpiEnvironment environment;
    try {
        const char* expected = std::getenv("KIBAN_EXPECTED_RANKS");
        const Group world = environment.world(expected != nullptr ? std::atoi(expected) : 2);
        const int rounds = argc > 1 ? std::max(7, std::atoi(argv[1])) : 9;
        const Group messages = world.split(0, world.rank(), "messages", Transport::messages);
        const bool one_node = world.shares_memory();
        const bool by_node = world.goes_by_node();
        if (world.rank() == 0) {
            fmt::print("all_reduce of floats, {} ranks, {}, medians of {} rounds\n", world.size(),
                       one_node  ? "shared memory"
                       : by_node ? "node by node"
                                 : "messages",
                       rounds);
            fmt::print("{:>8} {:>10} {:>12} {:>12} {:>10} {:>10} {:>10}\n", "MB", "Kiban GB/s", "MPI in place",
                       "MPI separate", "messages", "in place x", "messages x");
        }
        int below = 0;
        for (const std::size_t megabytes : {4U, 64U, 256U}) {
            const double ratio = measure(world, messages, megabytes, rounds);
            if (one_node && megabytes >= kFloorMegabytes && ratio < kFloor) ++below;
        }
        if (below > 0 && world.rank() == 0) fmt::print("below {} times MPI_Allreduce in place\n", kFloor);
        return below > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        environment.abort(EXIT_FAILURE);
    }
}

}  // namespace
}  // namespace kiban::worker

int main(int argc, char** argv) { return kiban::worker::run(argc, argv); }
