// SPDX-License-Identifier: Apache-2.0
#include "worker/parallel/mesh.h"

#include <fmt/format.h>

#include "monitoring/error.h"

namespace kiban::worker {

MeshShape MeshShape::of(const coordinator::ParallelConfig& config, int world_size) {
    MeshShape shape{.data = 1, .pipeline = config.pipeline, .context = config.context, .tensor = config.tensor};
    if (shape.pipeline < 1 || shape.context < 1 || shape.tensor < 1) {
        throw ConfigError("cannot arrange {} workers: expected degrees of at least 1, found {}", world_size,
                          shape.text());
    }
    const int others = shape.pipeline * shape.context * shape.tensor;
    if (world_size < others || world_size % others != 0) {
        throw ConfigError("cannot arrange {} workers: expected a multiple of {} (pipeline {} x context {} x tensor {})",
                          world_size, others, shape.pipeline, shape.context, shape.tensor);
    }
    shape.data = world_size / others;
    return shape;
}

MeshShape::Coordinates MeshShape::coordinates_of(int world_rank) const {
    return {.data = world_rank / (tensor * context * pipeline),
            .pipeline = world_rank / (tensor * context) % pipeline,
            .context = world_rank / tensor % context,
            .tensor = world_rank % tensor};
}

std::string MeshShape::text() const {
    return fmt::format("data {}, pipeline {}, context {}, tensor {}", data, pipeline, context, tensor);
}

Mesh::Mesh(const MeshShape& mesh_shape, const Group& whole_world)
    : shape(mesh_shape),
      world(whole_world),
      data(whole_world.split(whole_world.rank() % (mesh_shape.tensor * mesh_shape.context * mesh_shape.pipeline),
                             whole_world.rank(), "data")) {}

}  // namespace kiban::worker
