// SPDX-License-Identifier: Apache-2.0
// The sharded optimizer against itself on one worker, and through real checkpoints onto other numbers of workers.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>

#include "checkpoint/reader.h"
#include "checkpoint/shard.h"
#include "coordinator/job/inventory.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/support/mpi_world.h"
#include "tests/worker/optim_checkpoints.h"
#include "worker/model/transformer.h"
#include "worker/optim/sharded_optimizer.h"

namespace kiban::worker {
namespace {

namespace fs = std::filesystem;
using coordinator::Init;
using coordinator::ModelConfig;
using coordinator::ModelLayout;
using coordinator::OptimizerConfig;
using coordinator::TensorSpec;

int ranks() { return test_world().size(); }
int me() { return test_world().rank(); }

// Shapes whose flat ranges are cut in the middle of rows, for any number of ranks here; decay changes from tensor to
// tensor.
std::vector<TensorSpec> odd_tensors() {
    return {{.name = "a.weight", .shape = {5, 7}, .decay = true, .init = Init::normal, .deviation = 0.02},
            {.name = "a.bias", .shape = {5}, .decay = false, .init = Init::zeros},
            {.name = "b.weight", .shape = {3, 4, 5}, .decay = true, .init = Init::normal, .deviation = 0.02},
            {.name = "norm.weight", .shape = {1}, .decay = false, .init = Init::ones}};
}
constexpr std::int64_t kElements = 35 + 5 + 60 + 1;

Mesh data_mesh(const Group& group, int replicate = 1) {
    return Mesh({.data = group.size(), .replicate = replicate}, group);
}

WholeModel whole_of(const std::vector<TensorSpec>& specs) {
    WholeModel whole{.tensors = specs.size(), .elements = 0};
    for (const TensorSpec& spec : specs) whole.elements += spec.elements();
    return whole;
}

// Integers: their sum over ranks is exact, so the update has the same bits for any number of ranks.
void fill_gradients(Parameters& parameters, int rank, int of_ranks, std::uint64_t step) {
    float* gradients = parameters.gradients();
    for (std::int64_t i = 0; i < parameters.elements(); ++i) {
        const auto whole = static_cast<std::int64_t>((static_cast<std::uint64_t>(i) * 37 + step * 11) % 101) - 50;
        gradients[i] = static_cast<float>(rank == 0 ? whole - (of_ranks - 1) : 1);
    }
}

void run_steps(Parameters& parameters, ShardedOptimizer& optimizer, const Group& group, std::uint64_t from,
               std::uint64_t to) {
    for (std::uint64_t step = from; step <= to; ++step) {
        fill_gradients(parameters, group.rank(), group.size(), step);
        optimizer.sharding().reduce_gradients();
        optimizer.update(step, 1e-2, 1.0);
        optimizer.sharding().publish_values();
    }
}

struct Replica {  // of one member of a group
    Replica(const Group& in_group, int zero_stage, const std::vector<TensorSpec>& specs = odd_tensors(),
            int replicate = 1)
        : group(in_group),
          parameters(coordinator::layout_of(specs, in_group.size()), held_at(zero_stage)),
          optimizer(parameters, OptimizerConfig{}, 0, zero_stage, data_mesh(in_group, replicate), whole_of(specs)) {
        optimizer.sharding().initialise(7);
    }
    std::vector<float> values() { return {parameters.values(), parameters.values() + parameters.elements()}; }

    Group group;
    Parameters parameters;
    ShardedOptimizer optimizer;
};

class ShardedOptimizerTest : public OptimizerCheckpoints {
  protected:
    fs::path save(Replica& replica, std::uint64_t step) {
        return OptimizerCheckpoints::save(replica.optimizer, replica.group, step);
    }
};

TEST_F(ShardedOptimizerTest, StateShrinksAsOneOverTheNumberOfWorkers) {
    Replica sharded(test_world(), 1);
    Replica whole(test_world(), 0);
    const auto padded = static_cast<std::uint64_t>(whole.parameters.layout().padded);
    EXPECT_LT(padded - kElements, 16U * static_cast<std::uint64_t>(ranks())) << "filled up to whole blocks, no more";
    EXPECT_EQ(whole.optimizer.optimizer_bytes(), 8U * padded);
    EXPECT_EQ(sharded.optimizer.optimizer_bytes(), 8U * padded / static_cast<std::uint64_t>(ranks()));
}

TEST_F(ShardedOptimizerTest, WithExactSumsAnyNumberOfWorkersGivesTheSameBits) {
    Replica alone(Group::alone(), 1);
    run_steps(alone.parameters, alone.optimizer, alone.group, 1, 10);
    for (const int stage : {0, 1}) {
        Replica replica(test_world(), stage);
        run_steps(replica.parameters, replica.optimizer, replica.group, 1, 10);
        EXPECT_EQ(replica.values(), alone.values()) << "stage " << stage;
    }
}

TEST_F(ShardedOptimizerTest, OnlyMatricesDecay) {
    Replica replica(test_world(), 1);
    const std::vector<float> before = replica.values();
    std::fill_n(replica.parameters.gradients(), kElements, 0.0F);
    replica.optimizer.sharding().reduce_gradients();
    replica.optimizer.update(1, 0.5, 1.0);
    replica.optimizer.sharding().publish_values();
    const std::vector<float> after = replica.values();
    for (std::size_t i = 0; i < 35; ++i) EXPECT_FLOAT_EQ(after[i], before[i] * (1 - 0.5F * 0.1F));
    for (std::size_t i = 35; i < 40; ++i) EXPECT_EQ(after[i], before[i]);
    EXPECT_EQ(after[100], 1.0F);
}

TEST_F(ShardedOptimizerTest, TheClippingFactorIsThatOfTheGlobalNorm) {
    Parameters parameters(coordinator::layout_of(odd_tensors(), ranks()));
    const Mesh mesh = data_mesh(test_world());
    const ShardedOptimizer clipping(parameters, {}, 2.0, 1, mesh, whole_of(odd_tensors()));
    EXPECT_EQ(clipping.clipping_factor(1.5), 1.0);
    EXPECT_DOUBLE_EQ(clipping.clipping_factor(8.0), 2.0 / (8.0 + 1e-6));
    const ShardedOptimizer free(parameters, {}, 0, 1, mesh, whole_of(odd_tensors()));
    EXPECT_EQ(free.clipping_factor(1e9), 1.0);

    fill_gradients(parameters, me(), ranks(), 3);
    ShardedOptimizer optimizer(parameters, {}, 2.0, 1, mesh, whole_of(odd_tensors()));
    optimizer.sharding().reduce_gradients();
    std::array<double, 1> squares = {optimizer.own_sum_of_squares()};
    test_world().all_reduce_sum(std::span<double>(squares));
    Parameters one(odd_tensors());
    fill_gradients(one, 0, 1, 3);
    double expected = 0;
    for (std::int64_t i = 0; i < kElements; ++i)
        expected += static_cast<double>(one.gradients()[i]) * one.gradients()[i];
    EXPECT_DOUBLE_EQ(squares[0], expected);
}

// N workers save; M load, go on, and save; all elements compared with a single worker that was never interrupted.
TEST_F(ShardedOptimizerTest, ACheckpointLoadsOnAnyNumberOfWorkers) {
    Replica alone(Group::alone(), 1);
    run_steps(alone.parameters, alone.optimizer, alone.group, 1, 5);
    const Elements expected = elements_of(alone.optimizer.slices());
    ASSERT_EQ(expected.size(), 3U * kElements);

    for (const int stage : {0, 1}) {
        Replica writer(test_world(), stage);
        run_steps(writer.parameters, writer.optimizer, writer.group, 1, 5);
        const fs::path saved = save(writer, 5 + static_cast<std::uint64_t>(stage));
        const checkpoint::CheckpointReader reader(saved);
        for (int readers = 1; readers <= ranks(); ++readers) {
            const Group group =
                test_world().split(me() / readers, me(), "readers");  // the last group may be smaller still
            Replica loaded(group, 1);
            loaded.optimizer.load(reader);
            EXPECT_EQ(loaded.optimizer.complete_load(reader), "");
            EXPECT_EQ(loaded.values(), std::vector<float>(alone.values())) << readers << " readers";
            for (const auto& [key, value] : elements_of(loaded.optimizer.slices()))
                ASSERT_EQ(value, expected.at(key)) << std::get<0>(key);
        }
    }
}

// Every worker stores as much, and each element is stored once.
TEST_F(ShardedOptimizerTest, ReplicasShareOutTheWritingOfACheckpointAndOthersLoadIt) {
    Replica alone(Group::alone(), 1);
    run_steps(alone.parameters, alone.optimizer, alone.group, 1, 5);
    const Elements expected = elements_of(alone.optimizer.slices());
    std::uint64_t step = 10;
    for (int replicate = 1; replicate <= ranks(); replicate *= 2) {
        for (const int stage : {0, 1}) {
            Replica writer(test_world(), stage, odd_tensors(), replicate);
            const auto shards = static_cast<std::uint64_t>(stage == 0 ? 1 : ranks() / replicate);
            EXPECT_EQ(writer.optimizer.optimizer_bytes(),
                      8U * static_cast<std::uint64_t>(writer.parameters.layout().padded) / shards);
            run_steps(writer.parameters, writer.optimizer, writer.group, 1, 5);
            EXPECT_EQ(writer.values(), alone.values());
            std::array<std::uint64_t, 1> stored = {elements_of(writer.optimizer.slices()).size()};
            EXPECT_LE(stored[0], 3U * static_cast<std::uint64_t>(writer.parameters.layout().padded / ranks()));
            test_world().all_reduce_sum(std::span<std::uint64_t>(stored));
            EXPECT_EQ(stored[0], expected.size());
            const checkpoint::CheckpointReader reader(save(writer, ++step));
            for (int other = 1; other <= ranks(); other *= 2) {
                Replica loaded(test_world(), 1, odd_tensors(), other);
                loaded.optimizer.load(reader);
                ASSERT_EQ(loaded.optimizer.complete_load(reader), "") << replicate << " replicas on " << other;
                EXPECT_EQ(loaded.values(), alone.values());
                for (const auto& [key, value] : elements_of(loaded.optimizer.slices()))
                    ASSERT_EQ(value, expected.at(key)) << std::get<0>(key);
                run_steps(loaded.parameters, loaded.optimizer, loaded.group, 6, 7);
                Replica onward(Group::alone(), 1);
                onward.optimizer.load(reader);
                ASSERT_EQ(onward.optimizer.complete_load(reader), "");
                run_steps(onward.parameters, onward.optimizer, onward.group, 6, 7);
                EXPECT_EQ(loaded.values(), onward.values());
            }
        }
    }
}

TEST_F(ShardedOptimizerTest, AResumedRunGoesOnWithTheSameBits) {
    Replica alone(Group::alone(), 1);
    run_steps(alone.parameters, alone.optimizer, alone.group, 1, 9);
    Replica writer(test_world(), 1);
    run_steps(writer.parameters, writer.optimizer, writer.group, 1, 4);
    const checkpoint::CheckpointReader reader(save(writer, 4));
    Replica resumed(test_world(), 1);
    resumed.optimizer.load(reader);
    ASSERT_EQ(resumed.optimizer.complete_load(reader), "");
    run_steps(resumed.parameters, resumed.optimizer, resumed.group, 5, 9);
    EXPECT_EQ(resumed.values(), alone.values());
}

TEST_F(ShardedOptimizerTest, StateThatDiffersFromItsFingerprintIsNoticedByAll) {
    Replica writer(test_world(), 1);
    run_steps(writer.parameters, writer.optimizer, writer.group, 1, 1);
    const checkpoint::CheckpointReader reader(save(writer, 1));
    Replica loaded(test_world(), 1);
    loaded.optimizer.load(reader);
    if (me() == ranks() - 1) loaded.parameters.values()[kElements - 1] += 1.0F;
    const std::string fault = loaded.optimizer.complete_load(reader);
    EXPECT_TRUE(fault.starts_with("tensor 'norm.weight' (param) of step 1: expected fingerprint ")) << fault;
}

TEST_F(ShardedOptimizerTest, ACheckpointOfAnotherModelIsRefusedByTensor) {
    Replica writer(test_world(), 1);
    const checkpoint::CheckpointReader reader(save(writer, 1));
    std::vector<TensorSpec> taller = odd_tensors();
    taller[0].shape = {6, 7};
    Replica other(test_world(), 1, taller);
    EXPECT_EQ(message_of<ConfigError>([&] { other.optimizer.load(reader); }),
              "checkpoint of step 1, tensor 'a.weight' (param): expected f32 [6,7], found f32 [5,7]");
    std::vector<TensorSpec> more = odd_tensors();
    more.push_back({.name = "extra", .shape = {2}});
    Replica larger(test_world(), 1, more);
    EXPECT_EQ(
        message_of<ConfigError>([&] { larger.optimizer.load(reader); }),
        "checkpoint of step 1: the model needs tensor 'extra' (param), which is not there: it is another model's");
    std::vector<TensorSpec> fewer = odd_tensors();
    fewer.pop_back();
    Replica smaller(test_world(), 1, fewer);
    EXPECT_EQ(message_of<ConfigError>([&] { smaller.optimizer.load(reader); }),
              "checkpoint of step 1: expected 9 tensors (parameters and their optimizer state), found 12");
}

TEST_F(ShardedOptimizerTest, ADamagedBlockIsACheckpointError) {
    Replica writer(test_world(), 1);
    const fs::path saved = save(writer, 1);
    test_world().barrier();
    if (me() == 0) {
        const fs::path shard = saved / checkpoint::shard_file_name(0);
        monitoring::File file = monitoring::File::open_write(shard);
        const std::byte flipped{0xFF};
        file.write_at(file.size() - 1, {&flipped, 1});
    }
    test_world().barrier();
    const checkpoint::CheckpointReader reader(saved);
    Replica loaded(Group::alone(), 1);
    EXPECT_NE(message_of<CheckpointError>([&] { loaded.optimizer.load(reader); }).find("shard-00000.h5"),
              std::string::npos);
}

// A small model trained for 50 steps: this group against one worker alone that does all micro-batches.
class Training {
  public:
    static constexpr std::int64_t kRows = 2;
    static constexpr std::int64_t kTokens = 16;
    static constexpr int kMicroBatches = 8;
    static constexpr std::int64_t kVocabulary = 31;

    Training(ModelLayout layout, int zero_stage, const Group& group)
        : config_(config_of(layout)),
          group_(group),
          parameters_(coordinator::layout_of(config_, kVocabulary, kTokens, {}, group.size()), held_at(zero_stage)),
          model_(config_, kVocabulary, kTokens, parameters_),
          optimizer_(parameters_, OptimizerConfig{}, 1.0, zero_stage, data_mesh(group),
                     whole_of(coordinator::tensor_inventory(config_, kVocabulary, kTokens))) {
        optimizer_.sharding().initialise(11);
    }

    double step(std::uint64_t number) {
        optimizer_.sharding().begin_step();
        std::array<double, 2> sums = {};
        const int share = kMicroBatches / group_.size();
        for (int m = group_.rank() * share; m < (group_.rank() + 1) * share; ++m) sums[0] += micro_batch(number, m);
        optimizer_.sharding().reduce_gradients();
        sums[1] = optimizer_.own_sum_of_squares();
        group_.all_reduce_sum(std::span<double>(sums));
        optimizer_.update(number, 3e-3, std::sqrt(sums[1]));
        optimizer_.sharding().publish_values();
        return sums[0] / kTargets;
    }
    std::uint64_t optimizer_bytes() const { return optimizer_.optimizer_bytes(); }

  private:
    static constexpr double kTargets = static_cast<double>(kRows * kTokens * kMicroBatches);

    static ModelConfig config_of(ModelLayout layout) {
        ModelConfig config;
        config.layout = layout;
        config.layers = 2;
        config.d_model = 32;
        config.heads = 4;
        return config;
    }

    // A noisy walk over the vocabulary: there is something to learn.
    double micro_batch(std::uint64_t number, int m) {
        std::vector<std::int64_t> inputs;
        std::vector<std::int64_t> targets;
        std::uint64_t noise = number * 1000 + static_cast<std::uint64_t>(m);
        std::int64_t token = static_cast<std::int64_t>(noise % kVocabulary);
        for (std::int64_t i = 0; i < kRows * kTokens; ++i) {
            noise = noise * 6364136223846793005U + 1442695040888963407U;
            inputs.push_back(token);
            token = (token * 3 + 1 + static_cast<std::int64_t>((noise >> 60) == 0 ? 1 : 0)) % kVocabulary;
            targets.push_back(token);
        }
        return model_.accumulate_gradients({.rows = kRows, .inputs = inputs, .targets = targets}, 1.0 / kTargets);
    }

    ModelConfig config_;
    Group group_;
    Parameters parameters_;
    Transformer model_;
    ShardedOptimizer optimizer_;
};

TEST_F(ShardedOptimizerTest, FiftyStepsGiveTheLossesOfOneWorker) {
    for (const ModelLayout layout : {ModelLayout::gpt2, ModelLayout::llama}) {
        Training alone(layout, 1, Group::alone());
        Training sharded(layout, 1, test_world());
        Training replicated(layout, 0, test_world());
        EXPECT_NEAR(static_cast<double>(sharded.optimizer_bytes()),
                    static_cast<double>(alone.optimizer_bytes()) / ranks(), 8 * 16 * 6)
            << "blocks of six buckets";
        double first = 0;
        double last = 0;
        for (std::uint64_t step = 1; step <= 50; ++step) {
            const double expected = alone.step(step);
            const double loss = sharded.step(step);
            ASSERT_NEAR(loss, expected, 1e-5 * expected) << "step " << step;
            ASSERT_EQ(loss, replicated.step(step)) << "ZeRO 0 and 1 sum in the same order, step " << step;
            if (ranks() == 1) {
                ASSERT_EQ(loss, expected) << step;
            }
            if (step == 1) first = expected;
            last = expected;
        }
        EXPECT_LT(last, 0.7 * first) << "nothing was learned, so nothing was compared";
    }
}

}  // namespace
}  // namespace kiban::worker
