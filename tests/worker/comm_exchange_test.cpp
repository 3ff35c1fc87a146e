// SPDX-License-Identifier: Apache-2.0
// Shared memory against messages: the same inputs give the same bits, whatever the sizes, the order of calls and the
// delays between them.
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "checkpoint/placement.h"
#include "monitoring/error.h"
#include "tests/support/mpi_world.h"
#include "tests/worker/uneven_buffers.h"

namespace kiban::worker {
namespace {

int ranks() { return test_world().size(); }
int me() { return test_world().rank(); }

struct Both {
    Group shared;
    Group messages;
};

Both world_both() {
    return {test_world().split(0, me(), "shared"), test_world().split(0, me(), "messages", Transport::messages)};
}

// Runs `verb` on both groups with equal inputs and compares the whole buffers.
template <typename T, typename Verb>
void expect_same(const Both& both, const Verb& verb) {
    for (const std::size_t size : kSizes) {
        std::vector<T> through_memory = uneven<T>(size, me());
        std::vector<T> through_messages = through_memory;
        verb(both.shared, std::span<T>(through_memory));
        verb(both.messages, std::span<T>(through_messages));
        EXPECT_TRUE(same_bits(through_memory, through_messages)) << size << " elements";
    }
}

TEST(CommExchange, RanksOfOneHostShareMemoryUnlessToldNotTo) {
    const Both both = world_both();
    EXPECT_EQ(both.shared.shares_memory(), ranks() > 1 && test_hosts() == 1);
    EXPECT_FALSE(both.messages.shares_memory());
}

// Two groups of one name: the pair on the first host takes the memory, the pair that two hosts share the messages.
TEST(CommExchange, EachGroupTravelsAsItsOwnHostsAllow) {
    if (ranks() != 4) return;
    const Group pair = test_world().split(me() / 2, me(), "pair");
    EXPECT_EQ(pair.shares_memory(), test_hosts() == 1 || me() < 2);
    std::vector<float> flat(200'000, static_cast<float>(me()));
    pair.all_reduce_sum(std::span<float>(flat));
    EXPECT_EQ(flat, std::vector<float>(200'000, me() < 2 ? 1.0F : 5.0F));
}

TEST(CommExchange, BothWaysGiveTheSameBits) {
    const Both both = world_both();
    expect_same<float>(both, [](const Group& group, std::span<float> flat) { group.reduce_scatter_sum(flat); });
    expect_same<float>(both, [](const Group& group, std::span<float> flat) { group.all_reduce_sum(flat); });
    expect_same<double>(both, [](const Group& group, std::span<double> flat) { group.all_reduce_sum(flat); });
    expect_same<float>(both, [](const Group& group, std::span<float> flat) { group.all_gather(flat); });
    expect_same<double>(both, [](const Group& group, std::span<double> flat) { group.all_gather(flat); });
    expect_same<float>(both, [](const Group& group, std::span<float> flat) {
        group.broadcast(std::as_writable_bytes(flat), group.size() - 1);
    });
}

TEST(CommExchange, AnAllReduceIsAReduceScatterAndAGather) {
    for (const std::size_t size : kSizes) {
        std::vector<float> at_once = uneven<float>(size, me());
        std::vector<float> in_two = at_once;
        test_world().all_reduce_sum(std::span<float>(at_once));
        test_world().reduce_scatter_sum(in_two);
        test_world().all_gather(std::span<float>(in_two));
        EXPECT_TRUE(same_bits(at_once, in_two)) << size << " elements";
    }
}

// Ranks run apart by random delays, over two groups that have the same members in another order. A slot that is written
// before all have read it would show as a wrong sum.
TEST(CommExchange, CallsOfAnySizeFollowEachOtherOnTwoGroups) {
    const Group forward = test_world().split(0, me(), "forward");
    const Group backward = test_world().split(0, -me(), "backward");
    std::mt19937 same_everywhere(7);
    std::mt19937 own(static_cast<unsigned>(me()));
    const int n = ranks();
    for (int call = 0; call < 300; ++call) {
        const std::size_t size = same_everywhere() % (call % 10 == 0 ? 500'000U : 3'000U);
        const Group& group = same_everywhere() % 2 == 0 ? forward : backward;
        const auto verb = same_everywhere() % 3;
        if (own() % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(own() % 500));
        std::vector<float> flat(size, static_cast<float>(group.rank() + call));
        float expected = static_cast<float>(n * call + n * (n - 1) / 2);
        if (verb == 0) group.all_reduce_sum(std::span<float>(flat));
        if (verb == 1) {
            group.reduce_scatter_sum(flat);
            group.all_gather(std::span<float>(flat));
        }
        if (verb == 2) {
            group.broadcast(std::as_writable_bytes(std::span<float>(flat)), call % n);
            expected = static_cast<float>(call % n + call);
        }
        ASSERT_EQ(flat, std::vector<float>(size, expected)) << "call " << call;
    }
}

TEST(CommExchange, AGroupWorksOnAfterADisagreement) {
    if (ranks() > 1) {
        std::vector<float> uneven_sizes(static_cast<std::size_t>(me()) + 200'000);
        EXPECT_THROW(test_world().all_reduce_sum(std::span<float>(uneven_sizes)), CommError);
        EXPECT_THROW(test_world().all_gather(std::span<float>(uneven_sizes)), CommError);
        EXPECT_THROW(test_world().broadcast(std::as_writable_bytes(std::span<float>(uneven_sizes)), 0), CommError);
    }
    std::vector<float> flat(200'000, 1.0F);
    test_world().all_reduce_sum(std::span<float>(flat));
    EXPECT_EQ(flat, std::vector<float>(200'000, static_cast<float>(ranks())));
}

}  // namespace
}  // namespace kiban::worker
