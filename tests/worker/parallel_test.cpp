// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <set>
#include <tuple>

#include "coordinator/job/inventory.h"
#include "monitoring/error.h"
#include "worker/parallel/mesh.h"
#include "worker/parallel/parallelize.h"
#include "worker/parallel/sharding.h"

namespace kiban::worker {
namespace {

using coordinator::ParallelConfig;

template <typename E, typename F>
std::string message_of(F&& call) {
    try {
        call();
    } catch (const E& error) {
        return error.what();
    }
    return "nothing was thrown";
}

TEST(MeshShape, TheDataAxisIsWhatRemainsOfTheWorkers) {
    EXPECT_EQ(MeshShape::of({}, 1).data, 1);
    EXPECT_EQ(MeshShape::of({}, 6).data, 6);
    EXPECT_EQ(MeshShape::of({.zero = 1, .tensor = 2, .pipeline = 3, .context = 1}, 12).data, 2);
}

TEST(MeshShape, DegreesThatDoNotDivideTheWorldAreRefusedWithTheNumbers) {
    EXPECT_EQ(
        message_of<ConfigError>([] { (void)MeshShape::of({.zero = 1, .tensor = 2, .pipeline = 2, .context = 1}, 6); }),
        "cannot arrange 6 workers: expected a multiple of 4 (pipeline 2 x context 1 x tensor 2)");
    EXPECT_EQ(
        message_of<ConfigError>([] { (void)MeshShape::of({.zero = 1, .tensor = 0, .pipeline = 1, .context = 1}, 2); }),
        "cannot arrange 2 workers: expected degrees of at least 1, found data 1, pipeline 1, context 1, tensor 0");
}

TEST(MeshShape, EveryRankHasItsOwnCoordinatesTensorFastest) {
    const MeshShape shape{.data = 2, .pipeline = 3, .context = 2, .tensor = 2};
    std::set<std::tuple<int, int, int, int>> seen;
    for (int rank = 0; rank < 24; ++rank) {
        const MeshShape::Coordinates at = shape.coordinates_of(rank);
        EXPECT_EQ(((at.data * 3 + at.pipeline) * 2 + at.context) * 2 + at.tensor, rank);
        seen.insert({at.data, at.pipeline, at.context, at.tensor});
    }
    EXPECT_EQ(seen.size(), 24U);
}

TEST(Sharding, EveryTensorOfBothLayoutsHasAPlacement) {
    for (const auto layout : {coordinator::ModelLayout::gpt2, coordinator::ModelLayout::llama}) {
        coordinator::ModelConfig model;
        model.layout = layout;
        for (const coordinator::TensorSpec& spec : coordinator::tensor_inventory(model, 257, 64)) {
            EXPECT_EQ(placement_of(spec.name), checkpoint::Placement::Replicated()) << spec.name;
        }
    }
}

TEST(Sharding, AnUnknownTensorIsRefusedByName) {
    EXPECT_EQ(message_of<InternalError>([] { (void)placement_of("experts.0.weight"); }),
              "no sharding rule names the tensor 'experts.0.weight'");
}

TEST(Sharding, AStarStandsForAnyCharacters) {
    EXPECT_TRUE(matches("layers.*.weight", "layers.3.attention.q.weight"));
    EXPECT_TRUE(matches("*", ""));
    EXPECT_TRUE(matches("a*c*e", "abcde"));
    EXPECT_FALSE(matches("layers.*.weight", "layers.3.attention.q.bias"));
    EXPECT_FALSE(matches("norm.*", "layers.0.norm.weight"));
    EXPECT_FALSE(matches("norm", "norm.weight"));
}

class Parallelize : public ::testing::Test {
  protected:
    Parameters parameters_{{{.name = "norm.weight", .shape = {4}, .init = coordinator::Init::ones}}};

    std::string refusal(const MeshShape& shape) {
        const Mesh mesh(shape, Group::alone());
        return message_of<ConfigError>([&] { (void)parallelize(parameters_, mesh, {}, {}); });
    }
};

TEST_F(Parallelize, OnOneWorkerItIsTheIdentity) {
    const Mesh mesh(MeshShape::of({}, 1), Group::alone());
    EXPECT_EQ(parallelize(parameters_, mesh, {}, {})->optimizer_bytes(), 2 * 4 * sizeof(float));
}

TEST_F(Parallelize, AxesThatAreNotThereYetAreRefusedByNumber) {
    EXPECT_EQ(refusal({.data = 1, .pipeline = 1, .context = 1, .tensor = 2}),
              "parallel.tensor = 2: this version cuts no model along that axis, expected 1 (asked for: data 1, "
              "pipeline 1, context 1, tensor 2)");
    EXPECT_NE(refusal({.data = 1, .pipeline = 3, .context = 1, .tensor = 1}).find("parallel.pipeline = 3"),
              std::string::npos);
    EXPECT_NE(refusal({.data = 1, .pipeline = 1, .context = 4, .tensor = 1}).find("parallel.context = 4"),
              std::string::npos);
}

TEST_F(Parallelize, AnUnknownZeroStageIsRefused) {
    const Mesh mesh(MeshShape::of({}, 1), Group::alone());
    ParallelConfig config;
    config.zero = 3;
    EXPECT_EQ(message_of<ConfigError>([&] { (void)parallelize(parameters_, mesh, config, {}); }),
              "parallel.zero: expected 0 or 1, found 3");
}

}  // namespace
}  // namespace kiban::worker
