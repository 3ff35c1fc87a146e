// SPDX-License-Identifier: Apache-2.0
// Muon over meshes of data and tensor axes, on gradients whose sums are exact: the bits of one worker, which are those
// of the kernels by hand; and through real checkpoints onto other meshes.
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/reader.h"
#include "coordinator/job/inventory.h"
#include "coordinator/job/layout.h"
#include "monitoring/error.h"
#include "tests/support/mpi_world.h"
#include "tests/worker/optim_checkpoints.h"
#include "worker/kernels/muon.h"
#include "worker/optim/sharded_optimizer.h"

namespace kiban::worker {
namespace {

using coordinator::ModelConfig;
using coordinator::ModelLayout;
using coordinator::TensorSpec;

constexpr std::int64_t kVocabulary = 13;
constexpr std::int64_t kTokens = 6;
constexpr double kLearningRate = 1e-2;
constexpr double kClipNorm = 2.0;
constexpr double kNorm = 40.0;  // as if

// Wide, tall and square matrices, whose slices begin and end within rows.
ModelConfig config_of(ModelLayout layout) {
    ModelConfig config;
    config.layout = layout;
    config.layers = 2;
    config.d_model = 20;
    config.heads = 4;
    config.kv_heads = 4;
    config.d_hidden = 28;
    return config;
}

std::vector<TensorSpec> specs_of(ModelLayout layout) {
    return coordinator::tensor_inventory(config_of(layout), kVocabulary, kTokens);
}

WholeModel whole_of(const std::vector<TensorSpec>& specs, bool muon) {
    WholeModel whole;
    for (const TensorSpec& spec : specs) {
        ++whole.tensors;
        whole.elements += spec.elements();
        if (!muon || !coordinator::muon_updates(spec)) continue;
        ++whole.muons_tensors;
        whole.muons_elements += spec.elements();
    }
    return whole;
}

struct Cut {
    ModelLayout layout = ModelLayout::gpt2;
    int tensor = 1;
    int zero = 1;
    std::string optimizer = "muon";
};

// Integers, different for each tensor.
float gradient_at(const TensorSpec& spec, std::int64_t element, std::uint64_t step) {
    std::uint64_t state = static_cast<std::uint64_t>(element) * 37 + step * 1009;
    for (const char letter : spec.name) state = state * 31 + static_cast<std::uint64_t>(letter);
    state *= 6364136223846793005ULL;
    return static_cast<float>(static_cast<std::int64_t>((state >> 33) % 101) - 50);
}

class Replica {  // of one member of a group
  public:
    Replica(const Group& group, const Cut& cut)
        : mesh_({.data = group.size() / cut.tensor, .tensor = cut.tensor}, group),
          parameters_(
              coordinator::layout_of(config_of(cut.layout), kVocabulary, kTokens,
                                     {.tensor = cut.tensor, .tensor_rank = mesh_.tensor.rank()}, mesh_.data.size()),
              held_at(cut.zero)),
          optimizer_(parameters_, {.name = cut.optimizer}, kClipNorm, cut.zero, mesh_,
                     whole_of(specs_of(cut.layout), cut.optimizer == "muon")) {
        optimizer_.sharding().initialise(7);
    }

    ShardedOptimizer& optimizer() { return optimizer_; }
    const Group& group() const { return mesh_.world; }

    void run_steps(std::uint64_t from, std::uint64_t to) {
        for (std::uint64_t step = from; step <= to; ++step) {
            fill_gradients(step);
            optimizer_.sharding().reduce_gradients();
            optimizer_.update(step, kLearningRate, kNorm);
            optimizer_.sharding().publish_values();
        }
    }

    void load(const checkpoint::CheckpointReader& reader) {
        optimizer_.load(reader);
        EXPECT_EQ(optimizer_.complete_load(reader), "");
    }

    // Every worker compares what it stores, and the values it computes with.
    void expect(const Elements& expected, const std::string& what) {
        for (const auto& [key, value] : elements_of(optimizer_.slices()))
            ASSERT_EQ(value, expected.at(key)) << what << ": " << std::get<0>(key) << " " << std::get<1>(key);
        for (const ParameterEntry& entry : parameters_.entries()) {
            const float* values = parameters_.values() + entry.offset;
            for_each_element(entry, [&](std::int64_t here, std::int64_t in_whole) {
                ASSERT_EQ(values[here], expected.at({entry.spec.name, "param", in_whole})) << what;
            });
        }
    }

  private:
    template <typename Visit>
    static void for_each_element(const ParameterEntry& entry, Visit visit) {
        checkpoint::for_each_run(entry.box, entry.box, checkpoint::whole(entry.spec.shape),
                                 [&](std::int64_t from, std::int64_t to, std::int64_t count) {
                                     for (std::int64_t i = 0; i < count; ++i) visit(from + i, to + i);
                                 });
    }

    // Those of the workers add up to gradient_at.
    void fill_gradients(std::uint64_t step) {
        const int others = mesh_.data.size() - 1;
        for (const ParameterEntry& entry : parameters_.entries()) {
            float* gradients = parameters_.gradients() + entry.offset;
            const bool adds = !entry.partial || mesh_.tensor.rank() == 0;
            for_each_element(entry, [&](std::int64_t here, std::int64_t in_whole) {
                const float first = gradient_at(entry.spec, in_whole, step) - static_cast<float>(others);
                gradients[here] = !adds ? 0.0F : mesh_.data.rank() == 0 ? first : 1.0F;
            });
        }
    }

    Mesh mesh_;
    Parameters parameters_;
    ShardedOptimizer optimizer_;
};

Elements alone_after(std::uint64_t steps, ModelLayout layout) {
    Replica alone(Group::alone(), {.layout = layout});
    alone.run_steps(1, steps);
    return elements_of(alone.optimizer().slices());
}

// Every way to cut a group of workers, at the stages that keep whole gradients.
std::vector<Cut> cuts_of(int workers) {
    std::vector<Cut> cuts;
    for (const ModelLayout layout : {ModelLayout::gpt2, ModelLayout::llama}) {
        for (const int tensor : {1, 2, 4}) {
            if (workers % tensor != 0) continue;
            for (const int zero : {0, 1}) cuts.push_back({.layout = layout, .tensor = tensor, .zero = zero});
        }
    }
    return cuts;
}

std::string text_of(const Cut& cut) {
    return "tensor " + std::to_string(cut.tensor) + ", ZeRO " + std::to_string(cut.zero);
}

class MuonOptimizer : public OptimizerCheckpoints {};

TEST_F(MuonOptimizer, OnOneWorkerEachMatrixTakesTheStepsOfTheKernels) {
    const Elements found = alone_after(3, ModelLayout::llama);
    Parameters parameters(specs_of(ModelLayout::llama));
    parameters.initialise(7);
    const MuonStep step = {.learning_rate = kLearningRate,
                           .momentum = 0.95,
                           .weight_decay = 0.1,
                           .gradient_scale = kClipNorm / (kNorm + 1e-6)};
    std::vector<float> work;
    for (const ParameterEntry& entry : parameters.entries()) {
        if (!coordinator::muon_updates(entry.spec)) continue;
        const std::int64_t count = entry.elements();
        float* values = parameters.values() + entry.offset;
        std::vector<float> momentum(static_cast<std::size_t>(count));
        std::vector<float> update(momentum.size());
        for (std::uint64_t number = 1; number <= 3; ++number) {
            for (std::int64_t i = 0; i < count; ++i)
                update[static_cast<std::size_t>(i)] = gradient_at(entry.spec, i, number);
            muon_momentum(step, count, update.data(), momentum.data(), update.data());
            orthogonalise(entry.spec.shape[0], entry.spec.shape[1], update.data(), work);
            muon_apply(step, muon_scale(entry.spec.shape[0], entry.spec.shape[1]), count, update.data(), values);
        }
        for (std::int64_t i = 0; i < count; ++i) {
            ASSERT_EQ(found.at({entry.spec.name, "param", i}), values[i]) << entry.spec.name;
            ASSERT_EQ(found.at({entry.spec.name, "momentum", i}), momentum[static_cast<std::size_t>(i)]);
        }
        EXPECT_FALSE(found.contains({entry.spec.name, "exp_avg", 0})) << entry.spec.name;
    }
}

TEST_F(MuonOptimizer, WhatIsNotAMatrixOfABlockIsUpdatedAsByAdamW) {
    const Elements found = alone_after(3, ModelLayout::gpt2);
    Replica adamw(Group::alone(), {.optimizer = "adamw"});
    adamw.run_steps(1, 3);
    const Elements expected = elements_of(adamw.optimizer().slices());
    for (const TensorSpec& spec : specs_of(ModelLayout::gpt2)) {
        if (coordinator::muon_updates(spec)) {
            EXPECT_NE(found.at({spec.name, "param", 0}), expected.at({spec.name, "param", 0})) << spec.name;
            continue;
        }
        for (const char* kind : {"param", "exp_avg", "exp_avg_sq"}) {
            for (std::int64_t i = 0; i < spec.elements(); ++i)
                ASSERT_EQ(found.at({spec.name, kind, i}), expected.at({spec.name, kind, i})) << spec.name;
        }
    }
}

TEST_F(MuonOptimizer, WithExactSumsEveryMeshGivesTheBitsOfOneWorker) {
    for (const Cut& cut : cuts_of(test_world().size())) {
        const Elements expected = alone_after(5, cut.layout);
        Replica replica(test_world(), cut);
        replica.run_steps(1, 5);
        replica.expect(expected, text_of(cut));
        if (HasFatalFailure()) return;
    }
}

// A mesh saves; others, of any number of workers, load, compare, go on, and compare again.
TEST_F(MuonOptimizer, ACheckpointLoadsOnOtherMeshesAndTheRunGoesOnWithTheSameBits) {
    std::uint64_t number = 0;
    for (const Cut& cut : cuts_of(test_world().size())) {
        if ((cut.layout == ModelLayout::gpt2) != (cut.zero == 0)) continue;  // each layout at one stage
        const Elements expected = alone_after(3, cut.layout);
        const Elements later = alone_after(4, cut.layout);
        Replica writer(test_world(), cut);
        writer.run_steps(1, 3);
        const checkpoint::CheckpointReader reader(save(writer.optimizer(), writer.group(), ++number));
        for (int readers = 1; readers <= test_world().size(); ++readers) {
            const int me = test_world().rank();
            const Group group = test_world().split(me / readers, me, "readers");  // the last one may be smaller
            for (const Cut& other : cuts_of(group.size())) {
                if (other.layout != cut.layout) continue;
                Replica loaded(group, other);
                loaded.load(reader);
                const std::string what =
                    text_of(cut) + " to " + text_of(other) + ", readers " + std::to_string(readers);
                loaded.expect(expected, what);
                loaded.run_steps(4, 4);
                loaded.expect(later, what);
            }
        }
        if (HasFatalFailure()) return;
    }
}

TEST_F(MuonOptimizer, AMatrixHasOneFloatOfStateForEachElementAndTheRestHasTwo) {
    for (const Cut& cut : cuts_of(test_world().size())) {
        Replica replica(test_world(), cut);
        Replica adamw(test_world(),
                      {.layout = cut.layout, .tensor = cut.tensor, .zero = cut.zero, .optimizer = "adamw"});
        const WholeModel whole = whole_of(specs_of(cut.layout), true);
        std::array<std::uint64_t, 3> sums = {replica.optimizer().optimizer_bytes(), adamw.optimizer().optimizer_bytes(),
                                             4 * elements_of(replica.optimizer().slices()).size()};
        test_world().all_reduce_sum(std::span<std::uint64_t>(sums));
        const auto copies = static_cast<std::uint64_t>(cut.zero == 0 ? test_world().size() / cut.tensor : 1);
        EXPECT_EQ(sums[1] - sums[0], 4 * copies * static_cast<std::uint64_t>(whole.muons_elements)) << text_of(cut);
        EXPECT_EQ(replica.optimizer().checkpoint_bytes(), sums[2]) << text_of(cut);
    }
}

TEST_F(MuonOptimizer, ACheckpointOfTheOtherOptimizerIsRefusedByTensor) {
    Replica adamw(test_world(), {.optimizer = "adamw"});
    const checkpoint::CheckpointReader reader(save(adamw.optimizer(), adamw.group(), 1));
    Replica muon(test_world(), {});
    EXPECT_EQ(message_of<ConfigError>([&] { muon.optimizer().load(reader); }),
              "checkpoint of step 1: the model needs tensor 'layers.0.attention.q.weight' (momentum), which is not "
              "there: it is another optimizer's");
}

}  // namespace
}  // namespace kiban::worker
