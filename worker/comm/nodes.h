// SPDX-License-Identifier: Apache-2.0
// How the ranks of a group lie on nodes, and so how its large buffers travel. Internal to worker/comm.
//
// A node is what MPI says shares memory. KIBAN_RANKS_PER_NODE = R in a worker's environment cuts it smaller: the R
// workers of world ranks kR ... kR + R - 1 are then a node of their own, with their own window. For tests on one
// machine, and for machines whose sockets are better taken for nodes.
#pragma once

#include <memory>
#include <string>

#include "worker/comm/mpi_group.h"
#include "worker/comm/shared_window.h"

namespace kiban::worker {

/// Of a group whose n nodes each hold the same number s > 1 of contiguous ranks: rank = node * s + number on the node.
struct NodeGroups {
    NodeGroups(const Group::Impl& group, MPI_Comm own_node, MPI_Comm own_number);

    Group::Impl inside;                    // the ranks of the own node
    Group::Impl across;                    // those of the own number, one a node
    std::unique_ptr<SharedWindow> window;  // of `inside`
    /// n is a power of two: the tree over ranks (tree_sum.h) is cut between nodes until it is down to single nodes, so
    /// the tree over the nodes' sums is the same tree.
    bool sums_in_tree;
};

/// At most one of the two; neither: messages between all ranks.
struct Routes {
    std::unique_ptr<SharedWindow> window;  // all ranks are on one node
    std::unique_ptr<NodeGroups> nodes;
};

/// Collective. ConfigError for a KIBAN_RANKS_PER_NODE that is no number of at least 1.
Routes routes_of(const Group::Impl& group);

/// The ranks that share each node where they are as many and contiguous on all; 0 otherwise. `first_of_node[r]` is the
/// first rank on the node of rank r. Pure.
int ranks_on_each(const int* first_of_node, int ranks);

}  // namespace kiban::worker
