// SPDX-License-Identifier: Apache-2.0
// The verbs that move whole models, for groups with several ranks on each of several nodes: through shared memory
// inside a node, and in messages between the ranks of one number, so that every rank of a node uses the network and
// each byte crosses it once a node. Internal to worker/comm. All are collective on the group.
//
// With n nodes of s ranks, a rank sends 1/s of what it would in messages to all ranks: of a buffer of b bytes a sum or
// a gather takes (n - 1)/n b/s from it over the network. Pieces of the next round travel while one is summed.
#pragma once

#include <cstddef>
#include <span>

#include "worker/comm/nodes.h"

namespace kiban::worker::by_node {

/// Needs nodes.sums_in_tree.
template <typename T>  // float and double
void reduce_scatter_sum(const Group::Impl& group, const NodeGroups& nodes, std::span<T> flat);

template <typename T>  // float and double
void all_gather(const Group::Impl& group, const NodeGroups& nodes, std::span<T> flat);

void broadcast(const Group::Impl& group, const NodeGroups& nodes, std::span<std::byte> bytes, int root);

}  // namespace kiban::worker::by_node
