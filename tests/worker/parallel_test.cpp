// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <tuple>

#include "coordinator/job/inventory.h"
#include "coordinator/job/sharding.h"
#include "monitoring/error.h"
#include "tests/support/message_of.h"
#include "worker/parallel/mesh.h"
#include "worker/parallel/pipeline_schedule.h"

namespace kiban::worker {
namespace {

using coordinator::matches;
using coordinator::ParallelConfig;
using coordinator::placement_of;

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
        "cannot arrange 2 workers: expected degrees of at least 1, found pipeline 1, context 1, tensor 0");
}

TEST(MeshShape, ReplicasThatDoNotDivideTheDataAxisAreRefusedWithTheNumbers) {
    const MeshShape shape = MeshShape::of({.tensor = 2, .replicate = 2}, 12);
    EXPECT_EQ(shape.data, 6);
    EXPECT_EQ(shape.shards(), 3);
    EXPECT_EQ(shape.text(), "data 6, pipeline 1, context 1, tensor 2, replicas 2");
    EXPECT_EQ(
        message_of<ConfigError>([] { (void)MeshShape::of({.tensor = 2, .replicate = 4}, 12); }),
        "parallel.replicate = 4 does not divide the 6 data-parallel workers (12 workers / pipeline 1 / context 1 / "
        "tensor 2)");
    EXPECT_TRUE(message_of<ConfigError>([] {
                    (void)MeshShape::of({.replicate = 0}, 2);
                }).starts_with("parallel.replicate = 0 does not divide the 2 data-parallel workers"));
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

TEST(Sharding, HeadsAndFeaturesAreCutAndTheRestIsHeldWhole) {
    using checkpoint::Placement;
    for (const char* name : {"q.weight", "k.weight", "v.weight", "q.bias"})
        EXPECT_EQ(placement_of(std::string("layers.3.attention.") + name), Placement::Split(0)) << name;
    EXPECT_EQ(placement_of("layers.0.attention.o.weight"), Placement::Split(1));
    EXPECT_EQ(placement_of("layers.0.attention.o.bias"), Placement::Replicated());
    EXPECT_EQ(placement_of("layers.0.mlp.gate.weight"), Placement::Split(0));
    EXPECT_EQ(placement_of("layers.0.mlp.up.bias"), Placement::Split(0));
    EXPECT_EQ(placement_of("layers.0.mlp.down.weight"), Placement::Split(1));
    for (const char* name : {"embedding.weight", "positions.weight", "head.weight", "norm.weight",
                             "layers.7.mlp_norm.weight", "layers.7.attention_norm.bias", "layers.0.mlp.down.bias"})
        EXPECT_EQ(placement_of(name), Placement::Replicated()) << name;
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

using Kind = PipelineAction::Kind;

TEST(Pipeline, OneStagePassesEachMicroBatchForwardAndBackward) {
    EXPECT_EQ(one_forward_one_backward(1, 2, 0),
              (std::vector<PipelineAction>{
                  {Kind::forward, 0}, {Kind::backward, 0}, {Kind::forward, 1}, {Kind::backward, 1}}));
}

TEST(Pipeline, TheFirstOfThreeStagesIsTwoMicroBatchesAhead) {
    EXPECT_EQ(one_forward_one_backward(3, 4, 0), (std::vector<PipelineAction>{{Kind::forward, 0},
                                                                              {Kind::forward, 1},
                                                                              {Kind::forward, 2},
                                                                              {Kind::backward, 0},
                                                                              {Kind::forward, 3},
                                                                              {Kind::backward, 1},
                                                                              {Kind::backward, 2},
                                                                              {Kind::backward, 3}}));
}

TEST(Pipeline, EveryMicroBatchGoesBothWaysInOrderAndNoMoreThanAllowedAreUnderWay) {
    for (int stages = 1; stages <= 5; ++stages) {
        for (int micro_batches = 0; micro_batches <= 7; ++micro_batches) {
            for (int stage = 0; stage < stages; ++stage) {
                int forward = 0;
                int backward = 0;
                for (const PipelineAction& action : one_forward_one_backward(stages, micro_batches, stage)) {
                    int& next = action.kind == Kind::forward ? forward : backward;
                    EXPECT_EQ(action.micro_batch, next++);
                    EXPECT_LE(backward, forward);
                    EXPECT_LE(forward - backward, stages - stage);
                }
                EXPECT_EQ(forward, micro_batches);
                EXPECT_EQ(backward, micro_batches);
            }
        }
    }
}

}  // namespace
}  // namespace kiban::worker
