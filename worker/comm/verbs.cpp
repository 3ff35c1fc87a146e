// SPDX-License-Identifier: Apache-2.0
#include "worker/comm/verbs.h"

#include <limits>

#include "checkpoint/placement.h"
#include "monitoring/error.h"
#include "worker/comm/flat_exchange.h"
#include "worker/comm/node_exchange.h"
#include "worker/comm/shared_exchange.h"
#include "worker/comm/traffic_count.h"
#include "worker/comm/tree_sum.h"

namespace kiban::worker::verbs {
namespace {

constexpr std::size_t kFewDoubles = 4096;  // fewer: one MPI call, as a step's sums are
constexpr int kGatherTag = 3;

int narrow(std::size_t count, const Impl& group) {
    if (count > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
        throw CommError("group '{}': a message of {} elements does not fit one MPI call", group.name, count);
    }
    return static_cast<int>(count);
}

// The closed forms of traffic.h.
struct Sent {
    std::uint64_t all;
    std::uint64_t own;
    std::uint64_t others;  // how many ranks

    Sent(const Impl& group, std::size_t count, std::size_t element)
        : all(count * element),
          own(element * static_cast<std::uint64_t>(
                            checkpoint::part_of(static_cast<std::int64_t>(count), group.rank, group.size).size())),
          others(static_cast<std::uint64_t>(group.size - 1)) {}

    std::uint64_t reduce_scatter() const { return all - own; }
    std::uint64_t all_gather() const { return others * own; }
    std::uint64_t all_reduce() const { return reduce_scatter() + all_gather(); }
};

void all_reduce_integers(const Impl& group, void* values, std::size_t count, MPI_Datatype type, MPI_Op operation) {
    group.begin();
    const TrafficScope scope(group.cells, Operation::all_reduce,
                             Sent(group, count, sizeof(std::uint64_t)).all_reduce());
    group.check(MPI_Allreduce(MPI_IN_PLACE, values, narrow(count, group), type, operation, group.communicator),
                "MPI_Allreduce");
}

void all_reduce_few(const Impl& group, std::span<double> values) {
    const std::size_t count = values.size();
    std::vector<double> all(count * static_cast<std::size_t>(group.size));
    group.check(MPI_Allgather(values.data(), narrow(count, group), MPI_DOUBLE, all.data(), narrow(count, group),
                              MPI_DOUBLE, group.communicator),
                "MPI_Allgather");
    for (std::size_t i = 0; i < count; ++i) {
        values[i] = tree_sum_of(0, group.size,
                                [&](std::int64_t rank) { return all[static_cast<std::size_t>(rank) * count + i]; });
    }
}

template <typename T>
void all_gather_parts(const Impl& group, std::span<T> flat) {
    group.begin();
    const TrafficScope scope(group.cells, Operation::all_gather, Sent(group, flat.size(), sizeof(T)).all_gather());
    if (SharedWindow* window = group.window()) {
        shared::all_gather(group, *window, flat);
    } else if (const NodeGroups* nodes = group.nodes()) {
        by_node::all_gather(group, *nodes, flat);
    } else {
        messages::all_gather(group, flat);
    }
}

// Null: sums do not go by node.
const NodeGroups* nodes_that_sum(const Impl& group) {
    const NodeGroups* nodes = group.nodes();
    return nodes != nullptr && nodes->sums_in_tree ? nodes : nullptr;
}

// The strings' lengths by rank.
std::vector<std::uint64_t> lengths_of(const Impl& group, const std::string& bytes) {
    std::vector<std::uint64_t> lengths(static_cast<std::size_t>(group.size));
    lengths[static_cast<std::size_t>(group.rank)] = bytes.size();
    all_reduce_sum(group, lengths);
    return lengths;
}

}  // namespace

void barrier(const Impl& group) {
    group.begin();
    group.check(MPI_Barrier(group.communicator), "MPI_Barrier");
}

void all_reduce_sum(const Impl& group, std::span<float> values) {
    group.begin();
    const TrafficScope scope(group.cells, Operation::all_reduce,
                             Sent(group, values.size(), sizeof(float)).all_reduce());
    if (SharedWindow* window = group.window()) {
        shared::all_reduce_sum(group, *window, values);
    } else if (const NodeGroups* nodes = nodes_that_sum(group)) {
        by_node::reduce_scatter_sum(group, *nodes, values);
        by_node::all_gather(group, *nodes, values);
    } else {
        messages::reduce_scatter_sum(group, values);
        messages::all_gather(group, values);
    }
}

void all_reduce_sum(const Impl& group, std::span<double> values) {
    group.begin();
    const TrafficScope scope(group.cells, Operation::all_reduce,
                             Sent(group, values.size(), sizeof(double)).all_reduce());
    if (values.size() < kFewDoubles) {
        all_reduce_few(group, values);
    } else if (SharedWindow* window = group.window()) {
        shared::all_reduce_sum(group, *window, values);
    } else if (const NodeGroups* nodes = nodes_that_sum(group)) {
        by_node::reduce_scatter_sum(group, *nodes, values);
        by_node::all_gather(group, *nodes, values);
    } else {
        all_reduce_few(group, values);
    }
}

void all_reduce_sum(const Impl& group, std::span<std::uint64_t> values) {
    all_reduce_integers(group, values.data(), values.size(), MPI_UINT64_T, MPI_SUM);
}

void all_reduce_max(const Impl& group, std::span<std::int64_t> values) {
    all_reduce_integers(group, values.data(), values.size(), MPI_INT64_T, MPI_MAX);
}

void all_reduce_min(const Impl& group, std::span<std::int64_t> values) {
    all_reduce_integers(group, values.data(), values.size(), MPI_INT64_T, MPI_MIN);
}

void reduce_scatter_sum(const Impl& group, std::span<float> flat) {
    group.begin();
    const TrafficScope scope(group.cells, Operation::reduce_scatter,
                             Sent(group, flat.size(), sizeof(float)).reduce_scatter());
    if (SharedWindow* window = group.window()) {
        shared::reduce_scatter_sum(group, *window, flat);
    } else if (const NodeGroups* nodes = nodes_that_sum(group)) {
        by_node::reduce_scatter_sum(group, *nodes, flat);
    } else {
        messages::reduce_scatter_sum(group, flat);
    }
}

void all_gather(const Impl& group, std::span<float> flat) { all_gather_parts(group, flat); }
void all_gather(const Impl& group, std::span<double> flat) { all_gather_parts(group, flat); }

void broadcast(const Impl& group, std::span<std::byte> bytes, int root) {
    group.begin();
    const bool end_of_chain = (group.rank + 1) % group.size == root;
    const TrafficScope scope(group.cells, Operation::broadcast, end_of_chain ? 0 : bytes.size());
    if (SharedWindow* window = group.window()) {
        shared::broadcast(group, *window, bytes, root);
    } else if (const NodeGroups* nodes = group.nodes()) {
        by_node::broadcast(group, *nodes, bytes, root);
    } else {
        messages::broadcast(group, bytes, root);
    }
}

std::vector<std::string> all_gather(const Impl& group, const std::string& bytes) {
    const std::vector<std::uint64_t> lengths = lengths_of(group, bytes);
    std::vector<std::string> all(lengths.size());
    all[static_cast<std::size_t>(group.rank)] = bytes;
    for (int root = 0; root < group.size; ++root) {
        std::string& text = all[static_cast<std::size_t>(root)];
        text.resize(lengths[static_cast<std::size_t>(root)]);
        broadcast(group, std::as_writable_bytes(std::span<char>(text)), root);
    }
    return all;
}

std::vector<std::string> gather(const Impl& group, const std::string& bytes, int root) {
    const std::vector<std::uint64_t> lengths = lengths_of(group, bytes);
    if (group.rank != root) {
        const TrafficScope scope(group.cells, Operation::send, bytes.size());
        group.check(MPI_Send(bytes.data(), narrow(bytes.size(), group), MPI_BYTE, root, kGatherTag, group.communicator),
                    "MPI_Send", root);
        return {};
    }
    std::vector<std::string> all(lengths.size());
    for (int peer = 0; peer < group.size; ++peer) {
        std::string& text = all[static_cast<std::size_t>(peer)];
        if (peer == group.rank) {
            text = bytes;
            continue;
        }
        text.resize(lengths[static_cast<std::size_t>(peer)]);
        const TrafficScope scope(group.cells, Operation::receive, text.size());
        group.check(MPI_Recv(text.data(), narrow(text.size(), group), MPI_BYTE, peer, kGatherTag, group.communicator,
                             MPI_STATUS_IGNORE),
                    "MPI_Recv", peer);
    }
    return all;
}

std::unique_ptr<MessagesOut> start_send(const Impl& group, std::span<const float> values, int to, int tag) {
    group.begin();
    const TrafficScope scope(group.cells, Operation::send, values.size_bytes());
    return std::make_unique<MessagesOut>(group, values, to, tag);
}

void send(const Impl& group, std::span<const float> values, int to, int tag) {
    group.begin();
    const TrafficScope scope(group.cells, Operation::send, values.size_bytes());
    MessagesOut(group, values, to, tag).ended(true);
}

void receive(const Impl& group, std::span<float> values, int from, int tag) {
    group.begin();
    const TrafficScope scope(group.cells, Operation::receive, values.size_bytes());
    worker::receive(group, values, from, tag);
}

}  // namespace kiban::worker::verbs
