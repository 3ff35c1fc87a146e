// SPDX-License-Identifier: Apache-2.0
// Groups that span nodes, as KIBAN_RANKS_PER_NODE makes them here: node by node gives the bits of messages between all
// ranks.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "monitoring/error.h"
#include "tests/support/mpi_world.h"
#include "tests/worker/uneven_buffers.h"
#include "worker/comm/comm_thread.h"
#include "worker/comm/nodes.h"
#include "worker/comm/traffic.h"

namespace kiban::worker {
namespace {

int ranks() { return test_world().size(); }
int me() { return test_world().rank(); }

class RanksPerNode {
  public:
    explicit RanksPerNode(const std::string& number) { ::setenv("KIBAN_RANKS_PER_NODE", number.c_str(), 1); }
    explicit RanksPerNode(int number) : RanksPerNode(std::to_string(number)) {}
    ~RanksPerNode() { ::unsetenv("KIBAN_RANKS_PER_NODE"); }
    RanksPerNode(const RanksPerNode&) = delete;
    RanksPerNode& operator=(const RanksPerNode&) = delete;
};

// The first `size` ranks of the world on nodes of `each`; the others go without.
struct Both {
    Both(int size, int each) {
        const RanksPerNode said(each);
        const int color = me() < size ? 0 : 1;
        by_node = test_world().split(color, me(), "by node");
        goes_by_node = by_node.goes_by_node();  // decides while the variable stands
        messages = test_world().split(color, me(), "messages", Transport::messages);
        here = color == 0;
    }
    Group by_node = Group::alone();
    Group messages = Group::alone();
    bool goes_by_node = false;
    bool here = false;
};

// Runs `verb` on both groups with equal inputs and compares the whole buffers.
template <typename T, typename Verb>
void expect_same(const Both& both, const std::string& what, const Verb& verb) {
    for (const std::size_t size : kSizes) {
        std::vector<T> one_way = uneven<T>(size, me());
        std::vector<T> other_way = one_way;
        verb(both.by_node, std::span<T>(one_way));
        verb(both.messages, std::span<T>(other_way));
        EXPECT_TRUE(same_bits(one_way, other_way)) << what << " of " << size << " elements on " << both.by_node.size();
    }
}

void expect_same_verbs(const Both& both) {
    if (!both.here) return;
    expect_same<float>(both, "scatter",
                       [](const Group& group, std::span<float> flat) { group.reduce_scatter_sum(flat); });
    expect_same<float>(both, "sum", [](const Group& group, std::span<float> flat) { group.all_reduce_sum(flat); });
    expect_same<double>(both, "sum", [](const Group& group, std::span<double> flat) { group.all_reduce_sum(flat); });
    expect_same<float>(both, "gather", [](const Group& group, std::span<float> flat) { group.all_gather(flat); });
    expect_same<double>(both, "gather", [](const Group& group, std::span<double> flat) { group.all_gather(flat); });
    for (const int root : {0, both.by_node.size() - 1}) {
        expect_same<float>(both, "broadcast", [root](const Group& group, std::span<float> flat) {
            group.broadcast(std::as_writable_bytes(flat), root);
        });
    }
}

TEST(CommNodes, TheNodesOfAGroupAreRegularWhenAllHaveAsManyContiguousRanks) {
    const auto each = [](std::vector<int> first) {
        return ranks_on_each(first.data(), static_cast<int>(first.size()));
    };
    EXPECT_EQ(each({0}), 1);
    EXPECT_EQ(each({0, 0, 0}), 3);
    EXPECT_EQ(each({0, 0, 2, 2}), 2);
    EXPECT_EQ(each({0, 1, 2}), 1);
    EXPECT_EQ(each({0, 0, 2}), 0) << "the last node is smaller";
    EXPECT_EQ(each({0, 0, 2, 2, 2, 2}), 0);
    EXPECT_EQ(each({0, 1, 0, 1}), 0) << "ranks of two nodes take turns";
    EXPECT_EQ(each({0, 0, 2, 3}), 0);
}

TEST(CommNodes, AVariableThatIsNoNumberOfWorkersIsRefused) {
    for (const char* text : {"0", "two", "2 ", ""}) {
        const RanksPerNode said{std::string(text)};
        const Group group = test_world().split(0, me(), "refused");
        try {
            group.goes_by_node();
            FAIL() << text;
        } catch (const ConfigError& error) {
            EXPECT_EQ(std::string(error.what()),
                      "KIBAN_RANKS_PER_NODE = '" + std::string(text) +
                          "': expected a number of workers of at least 1, or no such variable");
        }
    }
}

TEST(CommNodes, ANodeCutInTwoIsTwoNodes) {
    const Both halves(ranks(), ranks() / 2);
    EXPECT_TRUE(halves.goes_by_node);
    EXPECT_FALSE(halves.by_node.shares_memory());
    const Both whole(ranks(), ranks());
    EXPECT_FALSE(whole.goes_by_node);
    EXPECT_TRUE(whole.by_node.shares_memory());
    const Both single(ranks(), 1);
    EXPECT_FALSE(single.goes_by_node) << "one rank a node: there is nothing to do inside";
}

TEST(CommNodes, NodeByNodeGivesTheBitsOfMessages) {
    for (int each = 2; each < ranks(); each *= 2) {
        const Both both(ranks(), each);
        EXPECT_TRUE(both.goes_by_node);
        expect_same_verbs(both);
    }
}

// Two nodes of three: the tree over six ranks is cut between them. Three nodes of two: it is not, so sums go in
// messages, and the rest by node. Nodes of different sizes: all goes in messages.
TEST(CommNodes, NumbersThatAreNoPowersOfTwoGiveTheSameBitsToo) {
    if (ranks() < 6) return;
    for (const int each : {3, 2}) {
        const Both both(6, each);
        EXPECT_EQ(both.goes_by_node, both.here);
        expect_same_verbs(both);
    }
    const Both uneven_nodes(5, 2);
    EXPECT_FALSE(uneven_nodes.here && uneven_nodes.goes_by_node);
    expect_same_verbs(uneven_nodes);
}

TEST(CommNodes, RanksInReverseOrderAreRegularAndInterleavedOnesAreNot) {
    const RanksPerNode said(2);
    const Group backward = test_world().split(0, -me(), "backward");
    EXPECT_TRUE(backward.goes_by_node());
    const Group interleaved = test_world().split(0, me() % 2 * ranks() + me(), "interleaved");
    EXPECT_FALSE(interleaved.goes_by_node());
    for (const Group& group : {backward, interleaved}) {
        std::vector<float> flat(300'001, static_cast<float>(group.rank()));
        group.all_reduce_sum(std::span<float>(flat));
        EXPECT_EQ(flat, std::vector<float>(flat.size(), static_cast<float>(ranks() * (ranks() - 1) / 2)));
    }
}

// Ranks run apart by random delays. A slot or a buffer that is written before it was read would show as a wrong sum.
void many_calls(const Group& group) {
    std::mt19937 same_everywhere(11);
    std::mt19937 own(static_cast<unsigned>(me()));
    const int n = ranks();
    for (int call = 0; call < 150; ++call) {
        const std::size_t size = same_everywhere() % (call % 10 == 0 ? 900'000U : 3'000U);
        if (own() % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(own() % 500));
        std::vector<float> flat(size, static_cast<float>(group.rank() + call));
        float expected = static_cast<float>(n * call + n * (n - 1) / 2);
        const auto verb = same_everywhere() % 3;
        if (verb == 0) group.start_all_reduce_sum(flat).wait();
        if (verb == 1) {
            Handle scattered = group.start_reduce_scatter_sum(flat);
            Handle gathered = group.start_all_gather(flat);
            scattered.wait();
            gathered.wait();
        }
        if (verb == 2) {
            group.broadcast(std::as_writable_bytes(std::span<float>(flat)), call % n);
            expected = static_cast<float>(call % n + call);
        }
        ASSERT_EQ(flat, std::vector<float>(size, expected)) << "call " << call;
    }
}

TEST(CommNodes, CallsOfAnySizeFollowEachOther) {
    const Both both(ranks(), 2);
    many_calls(both.by_node);
}

TEST(CommNodes, ACommunicationThreadRunsThemBesideOthers) {
    const Both both(ranks(), ranks() / 2);
    const CommThread thread;
    many_calls(both.by_node);
}

TEST(CommNodes, AGroupWorksOnAfterADisagreementBetweenNodes) {
    const Both both(ranks(), 2);
    std::vector<float> uneven_sizes(static_cast<std::size_t>(me() / 2) + 200'000);
    EXPECT_THROW(both.by_node.all_reduce_sum(std::span<float>(uneven_sizes)), CommError);
    EXPECT_THROW(both.by_node.all_gather(std::span<float>(uneven_sizes)), CommError);
    EXPECT_THROW(both.by_node.broadcast(std::as_writable_bytes(std::span<float>(uneven_sizes)), 0), CommError);
    std::vector<float> flat(200'000, 1.0F);
    both.by_node.all_reduce_sum(std::span<float>(flat));
    EXPECT_EQ(flat, std::vector<float>(200'000, static_cast<float>(ranks())));
}

// 12 elements a rank, so that parts are even.
TEST(CommNodes, BytesAreCountedByTheSameClosedForms) {
    const Both both(ranks(), 2);
    reset_traffic();
    const auto n = static_cast<std::uint64_t>(ranks());
    std::vector<float> flat(12 * n);
    both.by_node.reduce_scatter_sum(flat);
    both.by_node.all_gather(std::span<float>(flat));
    both.by_node.all_reduce_sum(std::span<float>(flat));
    std::map<std::string, std::uint64_t> bytes;
    for (const TrafficRow& row : traffic()) bytes[row.group + " " + row.operation] += row.bytes;
    EXPECT_EQ(bytes, (std::map<std::string, std::uint64_t>{{"by node reduce_scatter", 48 * (n - 1)},
                                                           {"by node all_gather", 48 * (n - 1)},
                                                           {"by node all_reduce", 96 * (n - 1)}}));
}

}  // namespace
}  // namespace kiban::worker
