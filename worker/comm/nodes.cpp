// SPDX-License-Identifier: Apache-2.0
#include "worker/comm/nodes.h"

#include <bit>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "monitoring/error.h"

namespace kiban::worker {
namespace {

constexpr const char* kVariable = "KIBAN_RANKS_PER_NODE";

// 0: as many as there are.
int said_ranks_per_node() {
    const char* text = std::getenv(kVariable);
    if (text == nullptr) return 0;
    int ranks = 0;
    const char* end = text + std::strlen(text);
    const auto [last, fault] = std::from_chars(text, end, ranks);
    if (fault != std::errc() || last != end || ranks < 1)
        throw ConfigError("{} = '{}': expected a number of workers of at least 1, or no such variable", kVariable,
                          text);
    return ranks;
}

void free(const Group::Impl& group, MPI_Comm& communicator) {
    group.check(MPI_Comm_free(&communicator), "MPI_Comm_free");
}

// The ranks of the group on this node.
MPI_Comm own_node_of(const Group::Impl& group) {
    const int said = said_ranks_per_node();
    MPI_Comm node = MPI_COMM_NULL;
    group.check(MPI_Comm_split_type(group.communicator, MPI_COMM_TYPE_SHARED, group.rank, MPI_INFO_NULL, &node),
                "MPI_Comm_split_type");
    if (said == 0) return node;
    int world_rank = 0;
    group.check(MPI_Comm_rank(MPI_COMM_WORLD, &world_rank), "MPI_Comm_rank");
    MPI_Comm part = MPI_COMM_NULL;
    group.check(MPI_Comm_split(node, world_rank / said, group.rank, &part), "MPI_Comm_split");
    free(group, node);
    return part;
}

std::vector<int> first_of_node(const Group::Impl& group, MPI_Comm node) {
    int first = group.rank;
    group.check(MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, node), "MPI_Allreduce");
    std::vector<int> firsts(static_cast<std::size_t>(group.size));
    group.check(MPI_Allgather(&first, 1, MPI_INT, firsts.data(), 1, MPI_INT, group.communicator), "MPI_Allgather");
    return firsts;
}

std::unique_ptr<NodeGroups> node_groups(const Group::Impl& group, MPI_Comm node, int ranks_each) {
    MPI_Comm number = MPI_COMM_NULL;
    group.check(MPI_Comm_split(group.communicator, group.rank % ranks_each, group.rank, &number), "MPI_Comm_split");
    auto nodes = std::make_unique<NodeGroups>(group, node, number);
    int everywhere = nodes->window != nullptr ? 1 : 0;
    group.check(MPI_Allreduce(MPI_IN_PLACE, &everywhere, 1, MPI_INT, MPI_MIN, group.communicator), "MPI_Allreduce");
    return everywhere != 0 ? std::move(nodes) : nullptr;
}

}  // namespace

NodeGroups::NodeGroups(const Group::Impl& group, MPI_Comm own_node, MPI_Comm own_number)
    : inside(group.name + ", inside a node", own_node, Group::Impl::Owns::communicator),
      across(group.name + ", across nodes", own_number, Group::Impl::Owns::communicator),
      window(SharedWindow::make(inside)),
      sums_in_tree(std::has_single_bit(static_cast<unsigned>(across.size))) {}

int ranks_on_each(const int* first_of_node, int ranks) {
    int each = 0;
    while (each < ranks && first_of_node[each] == 0) ++each;
    for (int rank = 0; rank < ranks; ++rank)
        if (first_of_node[rank] != rank / each * each) return 0;
    return ranks % each == 0 ? each : 0;
}

Routes routes_of(const Group::Impl& group) {
    MPI_Comm node = own_node_of(group);
    const int each = ranks_on_each(first_of_node(group, node).data(), group.size);
    Routes routes;
    if (each > 1 && each < group.size) {
        routes.nodes = node_groups(group, node, each);
        return routes;
    }
    free(group, node);
    if (each == group.size) routes.window = SharedWindow::make(group);
    return routes;
}

}  // namespace kiban::worker
