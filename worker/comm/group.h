// SPDX-License-Identifier: Apache-2.0
// A named set of processes and what they do together, as plain verbs. A Group is a value; a group of one makes every
// verb the identity.
//
// Sums of floating-point numbers are taken in one fixed tree over ranks (tree_sum.h), element by element, so the same
// group gives the same bits each time. Large buffers travel in pieces: through shared
// memory (a few MiB for each rank of a group that uses it, kept until MPI is finalised) where all ranks are on one
// node, node by node where each of several nodes has the same number of them, otherwise in messages. Every verb but
// send and receive is collective: all ranks of the group call it, in the same order, with equal sizes. One thread of
// the process at a time; while a CommThread runs (comm_thread.h), verbs are queued to it. Spans of float may be memory
// of a device (staging.h). Errors: CommError naming call, group, peer and MPI's own words; no verb has a timeout (the
// coordinator's heartbeat watches).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "worker/comm/handle.h"

namespace kiban::worker {

/// How large buffers travel between the ranks of a group.
enum class Transport {
    automatic,  // through shared memory inside a node, in messages between nodes
    messages,   // in messages always: for comparing the two, which give the same bits
};

class Group {
  public:
    /// This process by itself; needs no MPI.
    static Group alone(std::string name = "alone");

    const std::string& name() const;
    int rank() const;
    int size() const;

    /// Collective: the processes that give the same `color`, ordered by `key`. `name` is for messages.
    Group split(int color, int key, std::string name, Transport transport = Transport::automatic) const;

    /// Whether large buffers of this group go through shared memory. Collective.
    bool shares_memory() const;
    /// Whether they go through shared memory inside each node, and in messages between the ranks of one number: the
    /// nodes have the same number of contiguous ranks, more than one (worker/comm/nodes.h; sums need a power of two of
    /// nodes as well). Collective.
    bool goes_by_node() const;

    void barrier() const;

    void all_reduce_sum(std::span<double> values) const;
    void all_reduce_sum(std::span<float> values) const;
    void all_reduce_sum(std::span<std::uint64_t> values) const;  // modulo 2^64
    void all_reduce_max(std::span<std::int64_t> values) const;
    void all_reduce_min(std::span<std::int64_t> values) const;

    // Rank r's own part of a flat buffer is checkpoint::part_of(size, r, size of the group).
    /// The own part becomes the sum over ranks; the rest of the buffer is left as it was.
    void reduce_scatter_sum(std::span<float> flat) const;
    /// Every part becomes what its owner has.
    void all_gather(std::span<float> flat) const;
    void all_gather(std::span<double> flat) const;

    // The same, begun here and ended by the handle's wait(). They go on beside the caller when a communication thread
    // runs (comm_thread.h), and are done at once otherwise.
    Handle start_reduce_scatter_sum(std::span<float> flat) const;
    Handle start_all_gather(std::span<float> flat) const;
    Handle start_all_reduce_sum(std::span<float> values) const;

    void broadcast(std::span<std::byte> bytes, int root) const;
    /// The strings of all ranks, by rank.
    std::vector<std::string> all_gather(const std::string& bytes) const;
    /// The same, on `root` alone; empty elsewhere.
    std::vector<std::string> gather(const std::string& bytes, int root) const;

    // From one rank to another, which both name the other, the same size and the same tag (0 to kLastTag); those of one
    // tag arrive in order. CommError where sizes are seen to differ; InternalError for a peer or tag that cannot be.
    static constexpr int kLastTag = 16383;
    /// Returns when the values may be changed. Two ranks that send to each other first may wait for ever: start_send.
    void send(std::span<const float> values, int to, int tag) const;
    /// Returns when the values are there.
    void receive(std::span<float> values, int from, int tag) const;
    /// The values must stay as they are until the handle's wait() returns.
    Handle start_send(std::span<const float> values, int to, int tag) const;

    /// Verbs begun so far by this process on any group of more than one: the heartbeat's collective number.
    static std::uint64_t collectives_begun();

    struct Impl;
    explicit Group(std::shared_ptr<const Impl> impl);

  private:
    void check_peer(int peer, int tag) const;
    std::shared_ptr<const Impl> impl_;
};

}  // namespace kiban::worker
