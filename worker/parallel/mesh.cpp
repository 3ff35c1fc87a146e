// SPDX-License-Identifier: Apache-2.0
#include "worker/parallel/mesh.h"

#include <fmt/format.h>

#include "coordinator/job/layout.h"

namespace kiban::worker {

MeshShape MeshShape::of(const coordinator::ParallelConfig& config, int world_size) {
    return {.data = coordinator::shard_degree(config, world_size) * config.replicate,
            .pipeline = config.pipeline,
            .context = config.context,
            .tensor = config.tensor,
            .replicate = config.replicate};
}

MeshShape::Coordinates MeshShape::coordinates_of(int world_rank) const {
    return {.data = world_rank / (tensor * context * pipeline),
            .pipeline = world_rank / (tensor * context) % pipeline,
            .context = world_rank / tensor % context,
            .tensor = world_rank % tensor};
}

std::string MeshShape::text() const {
    return fmt::format("data {}, pipeline {}, context {}, tensor {}{}", data, pipeline, context, tensor,
                       replicate == 1 ? "" : fmt::format(", replicas {}", replicate));
}

namespace {

// A number that is equal exactly for the workers whose coordinates differ on one axis alone.
int line_of(const MeshShape& shape, MeshShape::Coordinates at, int MeshShape::Coordinates::*axis) {
    at.*axis = 0;
    return ((at.data * shape.pipeline + at.pipeline) * shape.context + at.context) * shape.tensor + at.tensor;
}

Group line(const MeshShape& shape, const Group& world, int MeshShape::Coordinates::*axis, const char* name) {
    return world.split(line_of(shape, shape.coordinates_of(world.rank()), axis), world.rank(), name);
}

// With one replica, the data axis itself: one group, one name in the counts of traffic.
Group shards_of(const MeshShape& shape, const Group& data) {
    if (shape.replicate == 1) return data;
    return data.split(data.rank() / shape.shards(), data.rank(), "shard");
}

Group replicas_of(const MeshShape& shape, const Group& data) {
    if (shape.replicate == 1) return Group::alone("replica");
    return data.split(data.rank() % shape.shards(), data.rank(), "replica");
}

// Ranked by tensor coordinate first: the parts that the shards make of a buffer follow each other.
Group plane_of_layer(const MeshShape& shape, const Group& world) {
    const MeshShape::Coordinates at = shape.coordinates_of(world.rank());
    const int stage = at.pipeline * shape.context + at.context;
    const int replica = at.data / shape.shards();
    return world.split(stage * shape.replicate + replica, at.tensor * shape.data + at.data, "layer");
}

Group ends(const MeshShape& shape, const Group& pipeline, bool tied) {
    if (!tied || shape.pipeline == 1) return Group::alone("tied");
    const int stage = pipeline.rank();
    const bool end = stage == 0 || stage == shape.pipeline - 1;
    return pipeline.split(end ? 0 : stage, stage, "tied");
}

}  // namespace

Mesh::Mesh(const MeshShape& mesh_shape, const Group& whole_world, bool ties_ends)
    : shape(mesh_shape),
      world(whole_world),
      data(line(mesh_shape, whole_world, &MeshShape::Coordinates::data, "data")),
      shard(shards_of(mesh_shape, data)),
      replica(replicas_of(mesh_shape, data)),
      pipeline(line(mesh_shape, whole_world, &MeshShape::Coordinates::pipeline, "pipeline")),
      tensor(line(mesh_shape, whole_world, &MeshShape::Coordinates::tensor, "tensor")),
      layer(plane_of_layer(mesh_shape, whole_world)),
      tied(ends(mesh_shape, pipeline, ties_ends)) {}

}  // namespace kiban::worker
