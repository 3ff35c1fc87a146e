// SPDX-License-Identifier: Apache-2.0
// A window after so many rounds that a 32-bit count of them has wrapped: months of training.
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "tests/support/mpi_world.h"
#include "worker/comm/mpi_group.h"
#include "worker/comm/shared_exchange.h"
#include "worker/comm/shared_window.h"

namespace kiban::worker {
namespace {

int ranks() { return test_world().size(); }
int me() { return test_world().rank(); }

// 2^32 is no multiple of the number of slots, so a count that wrapped would jump to a slot that others still read.
// Ranks run apart by random delays; a slot that is written too early shows as a wrong sum, one that never comes free as
// a hang.
TEST(CommLateRounds, SumsStayRightWhereTheRoundsPassTwoToThe32) {
    static_assert((std::uint64_t{1} << 32) % SharedWindow::kSlots != 0);
    const Group::Impl group("late", MPI_COMM_WORLD, Group::Impl::Owns::nothing);
    std::mt19937 own(static_cast<unsigned>(me()));
    for (const std::uint64_t first : {(std::uint64_t{1} << 32) - 20, (std::uint64_t{5} << 32) - 7}) {
        const auto window = ranks() > 1 ? SharedWindow::make(group, first) : nullptr;
        ASSERT_EQ(window != nullptr, ranks() > 1 && test_hosts() == 1);
        for (int call = 0; window && call < 30; ++call) {
            const std::size_t size = call % 3 == 0 ? 400'000 : 1000;  // four rounds, and one
            std::vector<float> flat(size, static_cast<float>(me() + call));
            if (own() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(own() % 500));
            shared::all_reduce_sum(group, *window, std::span<float>(flat));
            const auto expected = static_cast<float>(ranks() * call + ranks() * (ranks() - 1) / 2);
            ASSERT_EQ(flat, std::vector<float>(size, expected)) << "call " << call << " after round " << first;
        }
    }
}

}  // namespace
}  // namespace kiban::worker
