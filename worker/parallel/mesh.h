// SPDX-License-Identifier: Apache-2.0
// How the workers of a run are arranged: the degree of each axis, and the group of workers along it. Nothing else
// computes ranks.
//
// "axis" is a mesh axis, "dim" a tensor dimension. World rank r = ((data * pipeline + p) * context + c) * tensor + t:
// tensor neighbours are neighbours in the world, so they share a node. Data coordinate d is shard d % shards() of
// replica d / shards(): a replica is a contiguous block of the world. A MeshShape is a value, checked once.
#pragma once

#include <string>

#include "coordinator/job/train_config.h"
#include "worker/comm/group.h"

namespace kiban::worker {

struct MeshShape {
    int data = 1;  // what remains of the workers after the other axes
    int pipeline = 1;
    int context = 1;
    int tensor = 1;
    int replicate = 1;  // replicas of the ZeRO state; divides data

    /// Workers of the data axis that share out one replica.
    int shards() const { return data / replicate; }

    /// ConfigError naming every degree when they do not divide `world_size`.
    static MeshShape of(const coordinator::ParallelConfig& config, int world_size);

    struct Coordinates {
        int data = 0;
        int pipeline = 0;
        int context = 0;
        int tensor = 0;
        bool operator==(const Coordinates&) const = default;
    };
    Coordinates coordinates_of(int world_rank) const;
    std::string text() const;  // "data 4, pipeline 1, context 1, tensor 1", and ", replicas 2" where there are any
};

/// The groups this worker belongs to. Construction is collective.
struct Mesh {
    /// `ties_ends`: the first and the last pipeline stage hold copies of the same embedding.
    Mesh(const MeshShape& mesh_shape, const Group& whole_world, bool ties_ends = false);

    MeshShape shape;
    Group world;
    Group data;      // the workers that hold the same parameters and see other rows
    Group shard;     // those of `data` that share out one replica of the ZeRO state: all, where there is one replica
    Group replica;   // those of `data` with the same shard, one of each replica
    Group pipeline;  // the stages of one model; the rank is the stage
    Group tensor;    // the workers that share out each layer
    Group
        layer;   // the workers that hold parts of the same layers of one replica: shard and tensor, ranks shard fastest
    Group tied;  // the ends of `pipeline` where they are tied; a group of one elsewhere
};

}  // namespace kiban::worker
