// SPDX-License-Identifier: Apache-2.0
// What was loaded is compared with what was saved, after the load and on the new layout: a tensor that arrives shifted,
// on any mesh and on one worker alone, is refused by all.
#include <gtest/gtest.h>

#include <algorithm>

#include "checkpoint/reader.h"
#include "coordinator/job/ownership.h"
#include "tests/support/mpi_world.h"
#include "tests/worker/optim_checkpoints.h"
#include "tests/worker/parallel_training.h"

namespace kiban::worker {
namespace {

class LoadedOnAnyMesh : public OptimizerCheckpoints {
  protected:
    static std::vector<Recipe> meshes() {
        std::vector<Recipe> all;
        for (const int tensor : {1, 2}) {
            for (const int pipeline : {1, 2}) {
                if (test_world().size() % (tensor * pipeline) != 0) continue;
                for (const int zero : {1, 3}) {
                    Recipe recipe;
                    recipe.tensor = tensor;
                    recipe.pipeline = pipeline;
                    recipe.data = test_world().size() / (tensor * pipeline);
                    recipe.zero = zero;
                    all.push_back(recipe);
                    recipe.replicate = 2;
                    if (recipe.data % 2 == 0) all.push_back(recipe);
                }
            }
        }
        return all;
    }

    // A part of a matrix that this worker loads, whichever replica stores it: its elements moved by one place. The
    // name of the matrix.
    static std::string shift_one(ParallelModel& model) {
        const auto& layout = model.parameters().layout();
        for (const OwnedPiece& piece : model.sharding().own_pieces()) {
            const auto& bucket = layout.buckets[static_cast<std::size_t>(piece.bucket)];
            for (std::size_t i = bucket.last + 1; i-- > bucket.first;) {  // from behind: the last replica's first
                const ParameterEntry& entry = model.parameters().entries()[i];
                const auto inside = coordinator::elements_inside(entry, bucket, piece.range);
                if (!inside || inside->size() < 2 || entry.spec.shape.size() < 2 || entry.partial || entry.copy)
                    continue;
                float* values = piece.values + (entry.offset - bucket.offset + inside->begin - piece.range.begin);
                std::rotate(values, values + 1, values + inside->size());
                return entry.spec.name;
            }
        }
        return "";
    }
};

TEST_F(LoadedOnAnyMesh, AShiftedTensorIsRefusedByAllWorkers) {
    const Group& world = test_world();
    std::uint64_t step = 0;
    for (const Recipe& recipe : meshes()) {
        SCOPED_TRACE(recipe.text());
        ParallelModel saved(setup_of(recipe), world);
        saved.sharding().initialise(7);
        const checkpoint::CheckpointReader reader(save(saved.optimizer(), world, ++step));
        ParallelModel loaded(setup_of(recipe), world);
        loaded.optimizer().load(reader);
        EXPECT_EQ(loaded.optimizer().complete_load(reader), "");
        std::string shifted;
        if (world.rank() == world.size() - 1) shifted = shift_one(loaded);
        shifted = world.all_gather(shifted).back();
        ASSERT_FALSE(shifted.empty());
        const std::string fault = loaded.optimizer().complete_load(reader);
        EXPECT_TRUE(fault.starts_with("tensor '" + shifted + "' (param) of step ")) << fault;
        EXPECT_NE(fault.find("expected fingerprint"), std::string::npos) << fault;
    }
    EXPECT_GE(step, 2U);
}

}  // namespace
}  // namespace kiban::worker
