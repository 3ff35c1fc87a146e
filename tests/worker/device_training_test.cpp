// SPDX-License-Identifier: Apache-2.0
// The code of GPUs on this machine: whole trainings with LibTorch's kernels on the CPU, and on a device whose memory
// the host cannot touch, against the uncut model with native kernels.
#include <gtest/gtest.h>

#include "checkpoint/reader.h"
#include "tests/support/mpi_world.h"
#include "tests/worker/guarded_device.h"
#include "tests/worker/optim_checkpoints.h"
#include "tests/worker/parallel_expectations.h"
#include "worker/train/compute_device.h"

namespace kiban::worker {
namespace {

using coordinator::ActivationCheckpointing;
using coordinator::ModelLayout;

constexpr int kSteps = 2;  // the second one reads what the first has updated
const Device kNative{};
const Device kAten{.kind = DeviceKind::cpu, .index = 0, .aten_kernels = true};

Trained train_on(const Device& device, const Recipe& recipe, const Group& group) {
    compute_on(device);
    Trained result = train(recipe, group);
    compute_on(kNative);
    return result;
}

// Each axis alone, over all ranks there are, and replicas; on more than two also some of them together.
std::vector<Recipe> recipes(ModelLayout layout) {
    const int size = test_world().size();
    std::vector<Recipe> all;
    for (int zero = 0; zero <= 3; ++zero)
        all.push_back({.data = size, .zero = zero, .checkpointing = static_cast<ActivationCheckpointing>(zero % 3)});
    all.push_back({.data = size, .zero = 3, .muon = true});
    if (size > 1) {
        all.push_back({.tensor = size, .checkpointing = ActivationCheckpointing::selective});
        all.push_back({.tensor = size, .muon = true});
        all.push_back({.pipeline = size, .checkpointing = ActivationCheckpointing::full});
    }
    if (size > 1) all.push_back({.data = size, .zero = 1, .replicate = size});
    if (size == 4) all.push_back({.data = size, .zero = 3, .replicate = 2});
    if (size == 4) all.push_back({.data = 2, .tensor = 2, .zero = 3});
    if (size == 4) all.push_back({.tensor = 2, .pipeline = 2});
    for (Recipe& recipe : all) {
        recipe.layout = layout;
        recipe.steps = kSteps;
    }
    return all;
}

class Devices : public ::testing::TestWithParam<ModelLayout> {
  protected:
    static void expect_native_model(const Device& device) {
        Trained expected[2];
        for (const bool muon : {false, true}) {
            if (test_world().rank() == 0)
                expected[muon ? 1 : 0] =
                    train({.zero = 0, .layout = GetParam(), .muon = muon, .steps = kSteps}, Group::alone());
        }
        for (const Recipe& recipe : recipes(GetParam())) {
            const Trained found = train_on(device, recipe, test_world());
            if (test_world().rank() == 0)
                expect_same(found, expected[recipe.muon ? 1 : 0], device.text() + ", " + recipe.text());
            if (::testing::Test::HasFatalFailure()) return;
        }
    }
};

TEST_P(Devices, AtenKernelsTrainTheNativeModelAlongEachAxis) { expect_native_model(kAten); }

TEST_P(Devices, ADeviceThatTheHostCannotTouchTrainsTheNativeModelAlongEachAxis) {
    const std::uint64_t before = guarded_operations();
    expect_native_model(guarded_device());
    EXPECT_GT(guarded_operations() - before, 1000U) << "it did the work";
    EXPECT_EQ(guarded_bytes(), 0U) << "memory that was not given back";
}

TEST_P(Devices, FixedReductionGivesTheBitsOfOneWorkerWithAtenKernels) {
    const Recipe alone{.zero = 1, .layout = GetParam(), .fixed = true, .steps = kSteps};
    Recipe recipe = alone;
    recipe.data = test_world().size();
    for (const Device& device : {kAten, guarded_device()}) {
        const Trained found = train_on(device, recipe, test_world());
        if (test_world().rank() != 0) continue;
        const Trained expected = train_on(device, alone, Group::alone());  // devices differ in a few operations' bits
        EXPECT_EQ(found.losses, expected.losses) << device.text();
        EXPECT_EQ(found.norms, expected.norms) << device.text();
        EXPECT_EQ(found.last, expected.last) << device.text();
    }
}

INSTANTIATE_TEST_SUITE_P(Both, Devices, ::testing::Values(ModelLayout::gpt2, ModelLayout::llama),
                         [](const auto& shape) { return shape.param == ModelLayout::gpt2 ? "gpt2" : "llama"; });

class DeviceCheckpoints : public OptimizerCheckpoints {};

TEST_F(DeviceCheckpoints, OfOneDeviceLoadOnAnyOther) {
    const int size = test_world().size();
    const std::vector<Device> devices = {kNative, kAten, guarded_device()};
    std::uint64_t step = 0;
    for (const bool muon : {false, true}) {
        const Recipe recipe{.data = size, .zero = 2, .muon = muon};
        for (const Device& from : devices) {
            compute_on(from);
            ParallelModel saved(setup_of(recipe), test_world());
            saved.sharding().initialise(++step);
            const Elements expected = elements_of(saved.optimizer().slices());
            const std::filesystem::path directory = save(saved.optimizer(), test_world(), step);
            for (const Device& to : devices) {
                compute_on(to);
                ParallelModel loaded(setup_of(recipe), test_world());
                const checkpoint::CheckpointReader reader(directory);
                loaded.optimizer().load(reader);
                EXPECT_EQ(loaded.optimizer().complete_load(reader), "") << from.text() << " to " << to.text();
                EXPECT_EQ(elements_of(loaded.optimizer().slices()), expected) << from.text() << " to " << to.text();
            }
            compute_on(from);
        }
    }
    compute_on(kNative);
}

// The writer of checkpoints copies them beside the steps that follow.
TEST_F(DeviceCheckpoints, SlicesOfADeviceAreNotChangedByTheNextUpdate) {
    compute_on(guarded_device());
    {
        ParallelModel model(setup_of({.data = test_world().size(), .zero = 1}), test_world());
        model.sharding().initialise(1);
        const std::vector<checkpoint::TensorSlice> slices = model.optimizer().slices();
        const Elements expected = elements_of(slices);
        model.sharding().initialise(2);
        EXPECT_EQ(elements_of(slices), expected);
        EXPECT_NE(elements_of(model.optimizer().slices()), expected);
    }
    compute_on(kNative);
}

}  // namespace
}  // namespace kiban::worker
